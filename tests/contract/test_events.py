"""Events: masked when taken, due until unmasked."""

from __future__ import annotations

import trio

from tests.contract.rig import PATIENCE, Rig, eventually


async def test_an_event_stays_masked_until_it_is_unmasked_and_then_comes_again(rig: Rig) -> None:
    handle = await rig.boot("misbehave", "flood")
    await rig.wait_event(handle.console_event)

    async def more() -> bytes:
        assert handle.console_event not in rig.hypervisor.take_events()
        return rig.hypervisor.take_console(handle)

    for _ in range(3):  # the guest goes on writing, and goes on notifying
        await eventually(more, bool)
    assert handle.console_event not in rig.hypervisor.take_events()
    rig.hypervisor.unmask(handle.console_event)
    await rig.wait_event(handle.console_event)


async def test_a_quiet_guest_raises_no_event(rig: Rig) -> None:
    handle = await rig.prepare()
    rig.hypervisor.load(handle, rig.describe("noop"))
    await rig.settle_events()
    rig.hypervisor.unpause(handle)
    await rig.wait_event(handle.control_event)
    rig.hypervisor.unmask(handle.control_event)
    await rig.settle_events()
    assert list(rig.hypervisor.take_events()) == []


async def test_waiting_for_events_can_be_cancelled(rig: Rig) -> None:
    await rig.settle_events()
    with trio.fail_after(PATIENCE), trio.move_on_after(0.05) as scope:
        while True:  # a late event of something else is no reason to fail
            await rig.hypervisor.wait_events()
            for event in rig.hypervisor.take_events():
                rig.hypervisor.unmask(event)
    assert scope.cancelled_caught


async def test_the_events_of_a_released_domain_come_no_more(rig: Rig) -> None:
    handle = await rig.boot("misbehave", "flood")
    await rig.wait_event(handle.console_event)
    await rig.release(handle)
    rig.hypervisor.unmask(handle.console_event)
    await rig.settle_events()
    assert list(rig.hypervisor.take_events()) == []
