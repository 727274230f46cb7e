"""A host on which one daemon follows another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from lightvm.client import Client, open_client
from lightvm.daemon.config import Config
from lightvm.daemon.journal import DomainRecord, Journal, ShellRecord
from lightvm.testing import (
    FakeHypervisor,
    InMemory,
    MemoryFilters,
    MemoryLoops,
    MemoryPorts,
    MemoryStore,
    serve_in_memory,
)
from tests.waits import settle, until


class Host:
    """A host on which one daemon follows another."""

    def __init__(self, directory: Path, config: Config | None = None) -> None:
        self.directory = directory
        self.hypervisor = FakeHypervisor()
        self.store = MemoryStore()
        self.ports = MemoryPorts(self.store)
        self.loops = MemoryLoops(self.store)
        self.filters = MemoryFilters()
        self._config = config

    @property
    def path(self) -> Path:
        return self.directory / "state" / "journal"

    @asynccontextmanager
    async def daemon(
        self, *, kill: bool = False, filling: bool = True
    ) -> AsyncIterator[tuple[InMemory, Client]]:
        """Start a daemon, and wait until its pools are full; its process is gone at the end of the block.

        It stops in order, or is dropped as far as that can be done inside one process.
        """
        with trio.CancelScope() as life:
            async with serve_in_memory(
                self.directory,
                config=self._config,
                hypervisor=self.hypervisor,
                store=self.store,
                ports=self.ports,
                loops=self.loops,
                filters=self.filters,
            ) as lvm:
                async with open_client(lvm.socket) as client:
                    if filling:
                        await until(lambda: not any(pool.filling for pool in lvm.service.pools))
                    yield lvm, client
                    await settle(1)
                if kill:
                    life.cancel()
                    await trio.lowlevel.checkpoint()
        self.hypervisor.forget_handles()

    def write_journal(self, *records: DomainRecord | ShellRecord) -> None:
        """Add records to the journal, as a daemon does that is killed thereafter."""
        self.path.parent.mkdir(exist_ok=True)
        journal = Journal(self.path)
        for record in records:
            journal.append(record)
        journal.close()
