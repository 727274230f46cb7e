"""A domain that one process made and another goes on with."""

from __future__ import annotations

import pytest

from lightvm.errors import HypercallError
from lightvm.xen.hypervisor import Boot
from tests.contract.rig import SMALL, Rig
from tests.elf import make_kernel


@pytest.mark.smoke
async def test_an_adopted_domain_goes_on_printing(rig: Rig) -> None:
    handle = await rig.boot("misbehave", "ready flood")
    await rig.read_console(handle, lambda text: len(text) > 2048)
    await rig.release(handle)
    adopted = await rig.adopt(handle.domid, handle.console_port, handle.control_port)
    await rig.wait_event(adopted.console_event)
    text = await rig.read_console(adopted, lambda text: len(text) > 4096)
    assert b"flood" in text


async def test_an_adopted_domain_keeps_its_number_and_ports(rig: Rig) -> None:
    handle = await rig.boot("noop")
    await rig.release(handle)
    adopted = await rig.adopt(handle.domid, handle.console_port, handle.control_port)
    assert adopted.domid == handle.domid
    assert adopted.console_port == handle.console_port
    assert adopted.control_port == handle.control_port


async def test_what_a_guest_said_before_is_read_after_adoption(rig: Rig) -> None:
    handle = await rig.boot("noop")
    await rig.wait_ready(handle)
    await rig.release(handle)
    adopted = await rig.adopt(handle.domid, handle.console_port, handle.control_port)
    assert rig.hypervisor.read_control(adopted).ready == 1


async def test_adoption_raises_the_control_event(rig: Rig) -> None:
    handle = await rig.boot("noop")
    await rig.wait_ready(handle)
    await rig.settle_events()
    await rig.release(handle)
    adopted = await rig.adopt(handle.domid, handle.console_port, handle.control_port)
    await rig.wait_event(adopted.control_event)


async def test_an_adopted_domain_can_be_paused_and_unpaused(rig: Rig) -> None:
    handle = await rig.boot("misbehave", "loop")
    await rig.release(handle)
    adopted = await rig.adopt(handle.domid, handle.console_port, handle.control_port)
    for paused in (True, False):
        (rig.hypervisor.pause if paused else rig.hypervisor.unpause)(adopted)
        info = await rig.listed(handle.domid)
        assert info is not None
        assert info.paused is paused


async def test_a_released_domain_goes_on_running(rig: Rig) -> None:
    handle = await rig.boot("misbehave", "loop")
    await rig.release(handle)
    info = await rig.listed(handle.domid)
    assert info is not None
    assert not info.paused
    assert not info.dying


async def test_a_domain_with_wrong_ports_is_not_adopted_and_stays_adoptable(rig: Rig) -> None:
    handle = await rig.boot("noop")
    await rig.release(handle)
    with pytest.raises(HypercallError):
        await rig.adopt(handle.domid, 60, 61)
    await rig.adopt(handle.domid, handle.console_port, handle.control_port)


async def test_a_held_domain_cannot_be_adopted(rig: Rig) -> None:
    handle = await rig.boot("noop")
    with pytest.raises(HypercallError):
        await rig.hypervisor.adopt(handle.domid, handle.console_port, handle.control_port)
    await rig.wait_ready(handle)


async def test_a_domain_that_does_not_exist_cannot_be_adopted(rig: Rig) -> None:
    handle = await rig.prepare()
    await rig.destroy(handle)
    with pytest.raises(HypercallError):
        await rig.adopt(handle.domid, handle.console_port, handle.control_port)


async def test_whoever_adopts_a_watched_domain_hears_it_become_ready(rig: Rig) -> None:
    handle = await rig.prepare()
    rig.hypervisor.load(handle, rig.describe("noop"), watched=True)
    await rig.release(handle)  # as the death of the watcher does
    adopted = await rig.adopt(handle.domid, handle.console_port, handle.control_port)
    await rig.settle_events()
    rig.hypervisor.unpause(adopted)
    await rig.wait_event(adopted.control_event)
    assert rig.hypervisor.read_control(adopted).ready == 1


async def test_nothing_can_be_loaded_into_an_adopted_domain(rig: Rig) -> None:
    handle = await rig.boot("noop")
    await rig.release(handle)
    adopted = await rig.adopt(handle.domid, handle.console_port, handle.control_port)
    with pytest.raises(HypercallError):
        rig.hypervisor.load(adopted, rig.describe("noop"))


async def test_nothing_can_be_loaded_through_a_closed_window(rig: Rig) -> None:
    handle = await rig.prepare()
    await rig.hypervisor.close_window(handle)
    with pytest.raises(HypercallError):
        rig.hypervisor.load(handle, rig.describe("noop"))


async def test_an_image_larger_than_the_domain_is_refused(rig: Rig) -> None:
    handle = await rig.prepare()
    image = rig.image(make_kernel(size=SMALL.memory_kib * 1024))
    with pytest.raises(HypercallError):
        rig.hypervisor.load(handle, Boot(image=image))
