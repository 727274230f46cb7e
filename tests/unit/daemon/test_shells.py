"""Pools: filled between their marks, never in anybody's way, and no failure that lasts."""

from __future__ import annotations

import msgspec
import pytest
import trio

from lightvm.daemon.config import FlavorSection, PoolLimits
from lightvm.daemon.shells import MAX_WINDOW_KIB
from lightvm.errors import HypercallError, JournalFailed, NoSuchFlavor, OutOfMemory
from lightvm.model import Mode
from lightvm.testing import FakeHypervisor
from lightvm.xen.hypervisor import Handle, Shape
from tests.unit.daemon.bench import TINY, Open
from tests.unit.daemon.samples import make_config
from tests.waits import settle


async def test_a_pool_is_filled_to_its_high_mark(bench: Open) -> None:
    async with bench() as b:
        await settle()
        assert b.pools.count() == 5
        assert b.tiny.describe().prepared == 5
        assert b.agree()


async def test_a_pool_is_refilled_only_below_its_low_mark(bench: Open) -> None:
    async with bench() as b:
        await settle()
        for _ in range(3):
            assert b.pools.take(b.tiny) is not None
        await settle()
        assert len(b.tiny.shells) == 2
        b.pools.take(b.tiny)
        await settle()
        assert len(b.tiny.shells) == 5


async def test_the_newest_shell_is_taken_first(bench: Open) -> None:
    async with bench() as b:
        await settle()
        taken = b.pools.take(b.tiny)
        assert taken is not None
        assert taken.handle.domid == max(b.hypervisor.domains)


async def test_an_empty_pool_gives_nothing_and_is_filled_again(bench: Open) -> None:
    async with bench() as b:
        assert b.pools.take(b.tiny) is None
        assert (b.tiny.hits, b.tiny.misses) == (0, 1)
        await settle()
        assert b.pools.take(b.tiny) is not None
        assert (b.tiny.hits, b.tiny.misses) == (1, 1)


async def test_a_pool_with_a_low_mark_of_0_is_refilled_when_it_is_empty(bench: Open) -> None:
    config = make_config(tiny=FlavorSection(low=0, high=2))
    async with bench(config) as b:
        await settle()
        while b.pools.take(b.tiny) is not None:
            pass
        await settle()
        assert len(b.tiny.shells) == 2


async def test_a_pool_with_a_high_mark_of_0_stays_empty(bench: Open) -> None:
    async with bench(make_config(tiny=FlavorSection(low=0, high=0))) as b:
        await settle()
        assert b.pools.take(b.tiny) is None
        await settle()
        assert not b.hypervisor.domains


async def test_the_memory_floor_stops_the_refill_and_says_so(bench: Open) -> None:
    floor = PoolLimits(memory_floor_mib=64)
    hypervisor = FakeHypervisor(total_kib=65536 + 3 * 6000)
    async with bench(make_config(pool=floor, tiny=TINY), hypervisor) as b:
        await settle()
        assert 0 < len(b.tiny.shells) < 5
        assert b.tiny.last_error == "refill stopped at the memory floor"
        assert b.tiny.discarded == 0
        assert hypervisor.host().free_kib >= 65536


async def test_the_refill_goes_on_when_there_is_memory_again(bench: Open) -> None:
    hypervisor = FakeHypervisor(total_kib=65536 * 2)
    foreign = hypervisor.foreign(memory_kib=120_000)
    floor = PoolLimits(memory_floor_mib=64)
    async with bench(make_config(pool=floor, tiny=TINY), hypervisor) as b:
        await settle()
        assert b.pools.count() == 0
        hypervisor.kill(foreign)
        await settle(10)
        assert b.pools.count() == 5
        assert b.tiny.last_error is None


@pytest.mark.parametrize(
    "error", [HypercallError("no", "step"), OutOfMemory("none left"), JournalFailed("full")]
)
async def test_a_shell_that_fails_is_counted_and_tried_again(bench: Open, error: Exception) -> None:
    hypervisor = FakeHypervisor()
    hypervisor.fail("prepare", error)
    async with bench(hypervisor=hypervisor) as b:
        await settle(1)
        assert (b.pools.count(), b.tiny.discarded) == (0, 1)
        assert b.tiny.last_error is not None
        assert str(error) in b.tiny.last_error
        await settle(10)
        assert b.pools.count() == 5
        assert b.tiny.describe().last_error is None
        assert b.agree()


async def test_the_refill_survives_that_the_host_cannot_be_asked(bench: Open) -> None:
    hypervisor = FakeHypervisor()
    hypervisor.fail("host")
    async with bench(hypervisor=hypervisor) as b:
        await settle(10)
        assert b.pools.count() == 5


async def test_a_failure_is_retried_after_a_while_and_not_at_once(bench: Open) -> None:
    class Broken(FakeHypervisor):
        async def prepare(self, shape: Shape, uuid: bytes, *, cpupool: int = 0) -> Handle:
            self.fail("prepare")
            return await super().prepare(shape, uuid, cpupool=cpupool)

    async with bench(hypervisor=Broken()) as b:
        await settle(52)
        assert 10 <= b.hypervisor.calls["prepare"] <= 11


@pytest.mark.parametrize("bad", ["a", "b", "c"])
async def test_a_flavor_that_always_fails_does_not_keep_others_empty(bench: Open, bad: str) -> None:
    sizes = {"a": 4096, "b": 8192, "c": 16384}

    class Picky(FakeHypervisor):
        async def prepare(self, shape: Shape, uuid: bytes, *, cpupool: int = 0) -> Handle:
            if shape.memory_kib == sizes[bad]:
                self.fail("prepare")
            return await super().prepare(shape, uuid, cpupool=cpupool)

    flavors = {name: FlavorSection(memory_kib=kib, low=1, high=2) for name, kib in sizes.items()}
    config = msgspec.structs.replace(make_config(), flavors=flavors)
    async with bench(config, Picky()) as b:
        await settle(30)
        assert {pool.flavor.name: len(pool.shells) for pool in b.pools} == {
            name: 0 if name == bad else 2 for name in sizes
        }


async def test_the_refill_stands_back_while_requests_come(bench: Open) -> None:
    config = make_config(pool=PoolLimits(memory_floor_mib=0, yield_ms=20), tiny=TINY)
    async with bench(config) as b:
        b.quiet.begin_request()
        await trio.sleep(0.039)
        assert b.pools.count() == 0


async def test_the_refill_does_not_stand_back_for_ever(bench: Open) -> None:
    config = make_config(pool=PoolLimits(memory_floor_mib=0, yield_ms=20), tiny=TINY)
    async with bench(config) as b:
        b.quiet.begin_request()
        await trio.sleep(0.201)
        assert b.pools.count() == 5


async def test_larger_images_widen_the_window_of_shells_to_come(bench: Open) -> None:
    async with bench(make_config(big=FlavorSection(memory_kib=1 << 20, low=1, high=1))) as b:
        pool = b.pools["big"]
        pool.fit_window(1000)
        assert pool.shape.window_kib == 256
        pool.fit_window((1 << 20) + 1)
        assert pool.shape.window_kib == 1028
        pool.fit_window(4096)
        assert pool.shape.window_kib == 1028
        pool.fit_window(1 << 29)
        assert pool.shape.window_kib == MAX_WINDOW_KIB


async def test_a_window_is_never_wider_than_the_domain(bench: Open) -> None:
    async with bench() as b:
        b.tiny.fit_window(1 << 29)
        assert b.tiny.shape.window_kib == 4096


async def test_pools_are_found_by_name_and_shape(bench: Open) -> None:
    config = make_config(a=FlavorSection(memory_kib=8192), b=FlavorSection(memory_kib=4096))
    async with bench(config) as b:
        assert [pool.flavor.name for pool in b.pools] == ["b", "a"]
        assert b.pools.matching(Mode.NOXS, None, None, (), 0) is b.pools["b"]
        assert b.pools.matching(Mode.NOXS, 8192, 1, (), 0) is b.pools["a"]
        assert b.pools.matching(Mode.NOXS, 8192, 2, (), 0) is None
        with pytest.raises(NoSuchFlavor):
            b.pools["c"]
