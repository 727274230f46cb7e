"""Pools of shells at work, without a daemon around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from lightvm.daemon.config import Config, FlavorSection
from lightvm.daemon.devices import Devices, Dom0
from lightvm.daemon.disk.loops import MemoryLoops
from lightvm.daemon.journal import Journal
from lightvm.daemon.quiet import Quiet
from lightvm.daemon.shell_maker import ShellMaker
from lightvm.daemon.shells import Pools, ShellPool
from lightvm.testing import FakeHypervisor, MemoryFilters, MemoryPorts, MemoryStore, MemoryWires
from tests.unit.daemon.samples import make_config

TINY = FlavorSection(memory_kib=4096, low=2, high=5)


@dataclass(frozen=True)
class Bench:
    """Pools at work."""

    hypervisor: FakeHypervisor
    store: MemoryStore
    journal: Journal
    maker: ShellMaker
    quiet: Quiet
    pools: Pools

    @property
    def tiny(self) -> ShellPool:
        """The pool of the only flavor, where nothing else is configured."""
        return self.pools["tiny"]

    def agree(self) -> bool:
        """Whether Xen, the journal and the pools know the same shells."""
        there = {domain.uuid.hex() for domain in self.hypervisor.domains.values()}
        return there == self.pools.uuids == self.journal.past.shells.keys()


Open = Callable[..., AbstractAsyncContextManager[Bench]]


@asynccontextmanager
async def open_bench(
    directory: Path, config: Config | None = None, hypervisor: FakeHypervisor | None = None
) -> AsyncIterator[Bench]:
    """Fill pools for the length of a block."""
    hypervisor = hypervisor or FakeHypervisor()
    config = config or make_config(tiny=TINY)
    journal = Journal(directory / "journal")
    store = MemoryStore()
    ports, loops = MemoryPorts(store), MemoryLoops(store)
    dom0 = Dom0(store, ports, MemoryFilters(), loops, MemoryWires())
    devices = Devices(config, dom0)
    maker = ShellMaker(hypervisor, journal, devices)
    quiet = Quiet()
    pools = Pools(config, hypervisor, maker, quiet)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pools.refill_shells)
        yield Bench(hypervisor, store, journal, maker, quiet, pools)
        nursery.cancel_scope.cancel()
    journal.close()
