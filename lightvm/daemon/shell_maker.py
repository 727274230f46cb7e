"""Shells: one is made, or given back, each step written down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import trio

from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import dashed
from lightvm.daemon.journal import GoneRecord, Journal, ShellRecord
from lightvm.daemon.net.network import Lease
from lightvm.errors import TimedOut
from lightvm.model import Vif
from lightvm.xen.hypervisor import Handle, Hypervisor, Scheduling, Shape

UNDO_SECONDS = 30.0
"""How long giving a half-made thing back may take, shielded from cancellation."""


@dataclass(frozen=True, slots=True, eq=False)
class Shell:
    """A prepared, anonymous domain."""

    uuid: str
    dashed: str
    """The same, in the form that callers see."""
    flavor: str
    shape: Shape
    handle: Handle
    networks: tuple[str, ...] = ()
    """Of each of its vifs, in order."""
    vifs: tuple[Vif, ...] = ()
    """Addresses of its vifs, in order, with which they are known to nftables; empty where there are none yet."""
    leases: tuple[Lease, ...] = ()
    """The same, where its domain gets them unless others are asked for."""
    loops: tuple[int, ...] = ()
    """Numbers of the loop devices behind its disks, in order."""


class ShellMaker:
    """Makes shells and gives them back, each step journalled so that a crash leaks nothing."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        journal: Journal,
        devices: Devices,
        *,
        cpus: int | None = None,
        cpupool: int = 0,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._devices = devices
        self._cpus = cpus
        """A mask of the processors for shells; None for all."""
        self._cpupool = cpupool
        self.in_work: set[str] = set()
        """UUIDs of shells that are being made or given back just now."""

    async def make(
        self,
        flavor: str,
        shape: Shape,
        networks: tuple[str, ...] = (),
        vifs: tuple[Vif, ...] | None = None,
        *,
        early: bool = False,
    ) -> Shell:
        """Prepare one shell, its devices connected, unless it is to run `early` (see `Devices.connect`).

        Addresses are drawn for its vifs, unless its domain's are known.

        Once begun not interrupted by cancellation, which comes at the next checkpoint. Raises `HypercallError`,
        `OutOfMemory`, `JournalFailed`, `LinkFailed`, `DiskFailed`, `StoreFailed` and `TimedOut`, with nothing left
        behind; and `LinkFailed` before anything is made where a bridge is full.
        """
        if not networks:
            return await self._make(flavor, shape, early=early)
        async with self._devices.room_for(networks):
            if vifs is not None:
                return await self._make(flavor, shape, networks, vifs, early=early)
            leases = self._devices.networks.draw_ahead(networks)
            vifs = tuple([lease.vif for lease in leases])
            try:
                return replace(await self._make(flavor, shape, networks, vifs), leases=leases)
            except BaseException:
                self._devices.networks.take_back(*leases)
                raise

    async def _make(
        self,
        flavor: str,
        shape: Shape,
        networks: tuple[str, ...] = (),
        vifs: tuple[Vif, ...] = (),
        *,
        early: bool = False,
    ) -> Shell:
        uuid = os.urandom(16)
        self._journal.append(ShellRecord(uuid=uuid.hex(), flavor=flavor))
        with self.working_on(uuid.hex()):
            try:
                handle = await self._hypervisor.prepare(shape, uuid, cpupool=self._cpupool)
            except BaseException:
                self._journal.append(GoneRecord(uuid=uuid.hex()))
                raise
            shell = Shell(uuid.hex(), dashed(uuid.hex()), flavor, shape, handle, networks, vifs)
            try:
                if self._cpus is not None:
                    self._hypervisor.schedule(handle, Scheduling(masks=(self._cpus,) * shape.vcpus))
                loops = await self._devices.connect(
                    handle, shell.uuid, shape, networks, vifs, early=early
                )
            except BaseException:
                await self.discard(shell)
                raise
            return replace(shell, loops=loops)

    @contextmanager
    def working_on(self, uuid: str) -> Iterator[None]:
        """Say that a shell in nobody's table is not lost."""
        outer = uuid in self.in_work
        self.in_work.add(uuid)
        try:
            yield
        finally:
            if not outer:
                self.in_work.discard(uuid)

    async def discard(self, shell: Shell) -> None:
        """Give a shell back, shielded and bounded.

        Raises `HypercallError`, `TimedOut` and `JournalFailed`; the journal then keeps the shell. Raises what
        `Devices.disconnect` raises where devices are left, which that goes on with.
        """
        with self._undoing(shell):
            await self._end(shell)
            await self._disconnect(shell)

    async def end(self, shell: Shell) -> None:
        """Do the first part of `discard`: its domain is gone then, what its devices hold is not."""
        with self._undoing(shell):
            await self._end(shell)

    async def disconnect(self, shell: Shell) -> None:
        """Do the rest of it."""
        with self._undoing(shell):
            await self._disconnect(shell)

    async def _end(self, shell: Shell) -> None:
        await self._hypervisor.release(shell.handle)
        await self._hypervisor.destroy(shell.handle.domid)
        self._journal.append(GoneRecord(uuid=shell.uuid))
        self._devices.networks.take_back(*shell.leases)

    async def _disconnect(self, shell: Shell) -> None:
        if shell.networks or shell.shape.vbds or shell.shape.xenstore:
            await self._devices.disconnect(shell.handle.domid, shell.uuid)

    @contextmanager
    def _undoing(self, shell: Shell) -> Iterator[None]:
        """Shield what is done to give a shell back, and raise `TimedOut` where that takes too long."""
        deadline = trio.current_time() + UNDO_SECONDS
        with self.working_on(shell.uuid):
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                yield
            if scope.cancelled_caught:
                raise TimedOut(f"not given back after {UNDO_SECONDS:g} s", f"shell {shell.uuid}")
