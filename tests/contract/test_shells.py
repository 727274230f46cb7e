"""Making and destroying domains."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
import trio

from lightvm.errors import HypercallError, OutOfMemory
from lightvm.xen.hypervisor import Scheduling, Shape
from tests.contract.rig import PATIENCE, SMALL, Rig, eventually

TOLERANCE_KIB = 512


@pytest.mark.smoke
async def test_a_prepared_domain_is_listed_paused_with_its_uuid(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.prepare(uuid=uuid)
    info = await rig.listed(handle.domid)
    assert info is not None
    assert info.uuid == uuid
    assert info.paused
    assert not info.shutdown
    assert not info.dying
    assert info.vcpus == 1
    assert SMALL.memory_kib <= info.memory_kib <= SMALL.memory_kib + 1024


@pytest.mark.smoke
async def test_processors_weight_and_cap_are_taken(rig: Rig) -> None:
    handle = await rig.prepare(replace(SMALL, vcpus=2))
    for scheduling in (
        Scheduling(masks=(0b1, 0b10)),
        Scheduling(masks=(0b1,), weight=100),
        Scheduling(cap=50),
        Scheduling(weight=65535, cap=0),
    ):
        rig.hypervisor.schedule(handle, scheduling)


async def test_a_processor_that_is_not_there_is_an_error(rig: Rig) -> None:
    handle = await rig.prepare()
    with pytest.raises(HypercallError) as caught:
        rig.hypervisor.schedule(handle, Scheduling(masks=(1 << 4000,)))
    assert caught.value.errno == errno.EINVAL


async def test_a_cpupool_that_is_not_there_is_an_error_and_leaves_nothing(rig: Rig) -> None:
    uuid = os.urandom(16)
    with pytest.raises(HypercallError) as caught:
        await rig.hypervisor.prepare(SMALL, uuid, cpupool=4000)
    assert caught.value.errno == errno.ESRCH
    assert uuid not in {info.uuid for info in await rig.hypervisor.list_domains()}


async def test_domains_are_listed_in_order_of_domid(rig: Rig) -> None:
    made = [(await rig.prepare()).domid for _ in range(3)]
    listed = [info.domid for info in await rig.hypervisor.list_domains()]
    assert listed == sorted(listed)
    assert set(made) <= set(listed)
    assert 0 not in listed


async def test_the_handles_of_two_domains_have_different_events(rig: Rig) -> None:
    first, second = await rig.prepare(), await rig.prepare()
    events = {
        first.console_event,
        first.control_event,
        second.console_event,
        second.control_event,
    }
    assert len(events) == 4


@pytest.mark.smoke
async def test_destroy_gives_the_memory_back(rig: Rig) -> None:
    async def free() -> int:
        return rig.hypervisor.host().free_kib

    async def free_twice() -> tuple[int, int]:
        first = await free()
        await trio.sleep(0.1)
        return first, await free()

    # Xen gives back the last of domains before, those of other tests, after they are gone.
    before, _ = await eventually(free_twice, lambda looks: looks[0] == looks[1])
    handle = await rig.prepare(Shape.of(32768, 1))
    assert before - await free() >= 32768
    await rig.destroy(handle)

    async def listed() -> bool:
        return await rig.listed(handle.domid) is not None

    await eventually(free, lambda kib: kib >= before - TOLERANCE_KIB)
    await eventually(listed, lambda there: not there)


async def test_a_domain_that_does_not_exist_can_be_destroyed(rig: Rig) -> None:
    handle = await rig.prepare()
    await rig.destroy(handle)
    await rig.hypervisor.destroy(handle.domid)


async def test_a_window_can_be_closed_twice(rig: Rig) -> None:
    handle = await rig.prepare()
    await rig.hypervisor.close_window(handle)
    await rig.hypervisor.close_window(handle)


async def test_several_domains_can_be_prepared_at_once(rig: Rig) -> None:
    with trio.fail_after(4 * PATIENCE):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(rig.prepare)
    assert len(await rig.hypervisor.list_domains()) >= 4


@pytest.mark.smoke
async def test_more_than_the_host_has_is_out_of_memory_and_leaves_nothing(rig: Rig) -> None:
    before = {info.domid for info in await rig.hypervisor.list_domains()}
    free = rig.hypervisor.host().free_kib
    shape = replace(SMALL, memory_kib=free // 4 * 4 + 65536)
    with pytest.raises(OutOfMemory):
        await rig.prepare(shape)

    async def listed() -> set[int]:
        return {info.domid for info in await rig.hypervisor.list_domains()}

    async def memory() -> int:
        host = rig.hypervisor.host()
        return host.free_kib + host.scrub_kib

    await eventually(listed, lambda domids: domids <= before)
    await eventually(memory, lambda kib: kib >= free - TOLERANCE_KIB)
    await rig.prepare()


@pytest.mark.parametrize(
    "shape",
    [
        replace(SMALL, memory_kib=1020),
        replace(SMALL, memory_kib=4098),
        replace(SMALL, window_kib=4),
        replace(SMALL, window_kib=18),
        replace(SMALL, window_kib=4100),
        replace(SMALL, pool_kib=60),
        replace(SMALL, pool_kib=130),
        replace(SMALL, vcpus=0),
        replace(SMALL, vcpus=129),
        replace(SMALL, max_evtchn=2),
        replace(SMALL, max_grant_frames=0),
    ],
    ids=str,
)
async def test_a_bad_shape_is_refused(rig: Rig, shape: Shape) -> None:
    before = len(await rig.hypervisor.list_domains())
    with pytest.raises(HypercallError) as caught:
        await rig.prepare(shape)
    assert caught.value.where == "shape"
    assert len(await rig.hypervisor.list_domains()) == before


@pytest.mark.parametrize(("memory_kib", "vcpus"), [(1024, 1), (4096, 1), (4096, 16)])
async def test_a_quarter_of_the_page_table_pool_is_spare(
    rig: Rig, memory_kib: int, vcpus: int
) -> None:
    shape = Shape.of(memory_kib, vcpus)
    handle = await rig.prepare(replace(shape, pool_kib=shape.pool_kib * 3 // 16 * 4))
    rig.hypervisor.load(handle, rig.describe("noop"))
    rig.hypervisor.unpause(handle)
    await rig.wait_ready(handle)


async def test_the_host_has_memory_and_cpus(rig: Rig) -> None:
    host = rig.hypervisor.host()
    assert 0 < host.free_kib <= host.total_kib
    assert host.cpus >= 1


async def test_the_versions_are_known(rig: Rig) -> None:
    versions = rig.hypervisor.versions
    assert versions.xen.startswith("4.")
    assert versions.domctl > 0
    assert versions.sysctl > 0
