"""The hooks of the fake hypervisor; what it has in common with Xen is in tests/contract."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from lightvm.errors import HypercallError, OutOfMemory
from lightvm.xen.fake import OVERHEAD_KIB, FakeHypervisor
from lightvm.xen.hypervisor import Shape

SMALL = Shape.of(4096, 1)


async def test_an_injected_failure_happens_once() -> None:
    hypervisor = FakeHypervisor()
    hypervisor.fail("prepare")
    with pytest.raises(HypercallError) as caught:
        await hypervisor.prepare(SMALL, os.urandom(16))
    assert caught.value.where == "prepare"
    assert not hypervisor.domains
    await hypervisor.prepare(SMALL, os.urandom(16))


async def test_injected_failures_happen_in_their_order() -> None:
    hypervisor = FakeHypervisor()
    hypervisor.fail("host", OutOfMemory("first"))
    hypervisor.fail("host", HypercallError("second"))
    with pytest.raises(OutOfMemory):
        hypervisor.host()
    with pytest.raises(HypercallError):
        hypervisor.host()
    hypervisor.host()


async def test_a_hanging_call_ignores_cancellation_and_then_does_its_work(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hypervisor = FakeHypervisor()
    go_on = hypervisor.hang("prepare")
    ended = trio.Event()

    async def prepare() -> None:
        with trio.move_on_after(1):
            await hypervisor.prepare(SMALL, os.urandom(16))
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(prepare)
        await trio.sleep(10)
        assert not ended.is_set()
        assert not hypervisor.domains
        go_on.set()
    assert len(hypervisor.domains) == 1


async def test_calls_are_counted_by_name() -> None:
    hypervisor = FakeHypervisor()
    await hypervisor.list_domains()
    hypervisor.host()
    hypervisor.host()
    assert hypervisor.calls == {"list_domains": 1, "host": 2}


async def test_a_foreign_domain_costs_memory_and_runs() -> None:
    hypervisor = FakeHypervisor(total_kib=1 << 20)
    domid = hypervisor.foreign(memory_kib=65536)
    assert hypervisor.host().free_kib == (1 << 20) - 65536 - OVERHEAD_KIB
    assert not hypervisor.domains[domid].paused


async def test_forgotten_handles_can_be_adopted_and_raise_no_events_of_old() -> None:
    hypervisor = FakeHypervisor()
    handle = await hypervisor.prepare(SMALL, os.urandom(16))
    hypervisor.forget_handles()
    assert hypervisor.take_events() == []
    adopted = await hypervisor.adopt(handle.domid, handle.console_port, handle.control_port)
    assert set(hypervisor.take_events()) == {adopted.console_event, adopted.control_event}


async def test_a_killed_domain_raises_where_it_is_used() -> None:
    hypervisor = FakeHypervisor()
    handle = await hypervisor.prepare(SMALL, os.urandom(16))
    hypervisor.kill(handle.domid)
    with pytest.raises(HypercallError):
        hypervisor.unpause(handle)


def test_closing_is_noted() -> None:
    hypervisor = FakeHypervisor()
    hypervisor.close()
    assert hypervisor.closed
