"""Pools of shells: one per flavor, filled in the background between two water marks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
import trio

from lightvm.daemon.config import Config
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import dashed
from lightvm.daemon.journal import GoneRecord, Journal, ShellRecord
from lightvm.daemon.net.network import Lease
from lightvm.daemon.quiet import Quiet
from lightvm.errors import LightVMError, NoSuchFlavor, TimedOut
from lightvm.model import Flavor, Mode, NetRequest, Pool, Vif
from lightvm.xen.hypervisor import Handle, Hypervisor, Scheduling, Shape

log = structlog.get_logger()

MAX_WINDOW_KIB = 65536
"""No shell keeps more than this mapped; of a larger image the rest is mapped while it is copied."""

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


class ShellPool:
    """The shells of one flavor; the newest is taken first, since its pages are the likeliest to be cached."""

    def __init__(self, flavor: Flavor) -> None:
        self.flavor = flavor
        self.shape = Shape.of(
            flavor.memory_kib, flavor.vcpus, len(flavor.networks), flavor.disks, flavor.mode
        )
        self.nets = tuple(NetRequest(network=name) for name in flavor.networks)
        """What a create in this flavor asks for that says nothing about networks."""
        self.shells: deque[Shell] = deque()
        self.hits = self.instant = self.misses = self.prepared = self.discarded = 0
        self.last_error: str | None = None
        self.filling = True

    def fit_window(self, image_end: int) -> None:
        """Give the shells to come a window that holds an image like this, so that loading it needs no hypercall."""
        needed = -(-image_end // 4096) * 4
        if needed > self.shape.window_kib:
            self.shape = replace(
                self.shape, window_kib=min(needed, self.shape.memory_kib, MAX_WINDOW_KIB)
            )

    def describe(self, tickets: int = 0) -> Pool:
        """Return state and counters as a value; how many shells have a ticket is the caller's to know."""
        flavor = self.flavor
        return Pool(
            flavor=flavor.name,
            shells=len(self.shells),
            tickets=tickets,
            low=flavor.low,
            high=flavor.high,
            hits=self.hits,
            instant=self.instant,
            misses=self.misses,
            prepared=self.prepared,
            discarded=self.discarded,
            last_error=self.last_error,
        )


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


class Pools:
    """All pools, and the task that fills them."""

    def __init__(
        self, config: Config, hypervisor: Hypervisor, maker: ShellMaker, quiet: Quiet
    ) -> None:
        self._limits = config.pool
        self._hypervisor = hypervisor
        self._maker = maker
        self._quiet = quiet
        self._pools = {flavor.name: ShellPool(flavor) for flavor in config.flavor_list()}
        self._wanted = trio.Event()
        self._making = trio.Lock()
        """Held while a shell is made for a pool, until it is in there."""
        self.on_added: Callable[[], None] = lambda: None
        """Called when a shell has been added."""

    def __iter__(self) -> Iterator[ShellPool]:
        return iter(self._pools.values())

    def __getitem__(self, name: str) -> ShellPool:
        try:
            return self._pools[name]
        except KeyError:
            raise NoSuchFlavor("the configuration has no such flavor", name) from None

    def matching(
        self,
        mode: Mode,
        memory_kib: int | None,
        vcpus: int | None,
        networks: tuple[str, ...],
        disks: int,
    ) -> ShellPool | None:
        """Return the smallest pool whose flavor has exactly the asked shape; without a wish, the smallest."""
        for pool in self._pools.values():
            flavor = pool.flavor
            if (
                mode is flavor.mode
                and memory_kib in (None, flavor.memory_kib)
                and vcpus in (None, flavor.vcpus)
                and networks == flavor.networks
                and disks == flavor.disks
            ):
                return pool
        return None

    def take(self, pool: ShellPool) -> Shell | None:
        """Take a shell, or None where the pool is empty; either way the refill is told where it is needed."""
        shell = None
        if pool.shells:
            pool.hits += 1
            shell = pool.shells.pop()
        else:
            pool.misses += 1
        self._want_shells(pool)
        return shell

    def put_back(self, shell: Shell) -> None:
        """Put a shell back that was of no use after all."""
        self[shell.flavor].hits -= 1
        self[shell.flavor].shells.append(shell)

    def _want_shells(self, pool: ShellPool) -> None:
        if len(pool.shells) < max(pool.flavor.low, 1) and not pool.filling:
            pool.filling = True
            self._wanted.set()

    def shells(self) -> Iterator[Shell]:
        """Yield all shells that wait."""
        for pool in self:
            yield from pool.shells

    @property
    def uuids(self) -> set[str]:
        """UUIDs of all shells that wait."""
        return {shell.uuid for shell in self.shells()}

    async def drop(self, uuid: str) -> None:
        """Give back a shell that is of no use any more; one that has been taken meanwhile is left alone."""
        for pool in self:
            for shell in pool.shells:
                if shell.uuid == uuid:
                    pool.shells.remove(shell)
                    pool.discarded += 1
                    log.warning("shell-lost", flavor=pool.flavor.name, domid=shell.handle.domid)
                    self._want_shells(pool)
                    await self._discard(shell)
                    return

    def in_work(self, uuid: str) -> bool:
        """Whether a shell is being made or given back just now."""
        return uuid in self._maker.in_work

    def count(self) -> int:
        """Return how many shells there are."""
        return sum(len(pool.shells) for pool in self)

    async def refill_shells(self) -> None:
        """Fill the pools for ever: each up to its high mark, from start and whenever it falls below its low one."""
        while True:
            self._wanted = trio.Event()
            failed = False
            for pool in self:
                while pool.filling:
                    if not await self._add_shell(pool):
                        failed = True  # for this pool; the others have their turn
                        break
            if failed:
                await trio.sleep(self._limits.retry_seconds)
            elif not any(pool.filling for pool in self):
                await self._wanted.wait()

    async def _add_shell(self, pool: ShellPool) -> bool:
        """Add one shell where there is room for it; return False to be asked again after a while."""
        if len(pool.shells) >= pool.flavor.high:
            pool.filling = False
            return True
        await self._stand_back()
        cost = pool.shape.memory_kib + pool.shape.pool_kib
        try:
            if self._hypervisor.host().free_kib - cost < self._limits.memory_floor_mib * 1024:
                self._note_failure(pool, "refill stopped at the memory floor")
                return False
            async with self._making:
                pool.shells.append(await self._make(pool))
                self.on_added()
        except LightVMError as exc:
            pool.discarded += 1
            self._note_failure(pool, f"{exc.code}: {exc}")
            return False
        pool.prepared += 1
        pool.last_error = None
        return True

    async def _make(self, pool: ShellPool) -> Shell:
        flavor = pool.flavor
        return await self._maker.make(flavor.name, pool.shape, flavor.networks)

    def _note_failure(self, pool: ShellPool, reason: str) -> None:
        if pool.last_error != reason:
            log.warning("refill-failed", flavor=pool.flavor.name, reason=reason)
        pool.last_error = reason

    async def _stand_back(self) -> None:
        """Let requests go first, but never so long that a busy daemon starves its pools."""
        seconds = self._limits.yield_ms / 1000
        with trio.move_on_after(seconds * 2):
            await self._quiet.wait(seconds)

    async def drain(self) -> None:
        """Give all shells back; goes on after a failure, which the next start's reconciliation repairs.

        Call it when the refill has been told to stop: the shell that it may still be making comes back too.
        """
        async with self._making:
            await self._drain()

    async def _drain(self) -> None:
        """Have all domains gone before devices of any are removed.

        When one has died xenstored asks Xen about each that it knows, and each removal waits for xenstored.
        """
        ended = []
        for pool in self:
            while pool.shells:
                shell = pool.shells.pop()
                if await _has_gone(self._maker.end, shell):
                    ended.append(shell)
        for shell in ended:
            await _has_gone(self._maker.disconnect, shell)

    async def _discard(self, shell: Shell) -> None:
        await _has_gone(self._maker.discard, shell)


async def _has_gone(give_back: Callable[[Shell], Awaitable[None]], shell: Shell) -> bool:
    """Give a shell back, or a part of it; log why that has failed, and return whether it has not."""
    try:
        await give_back(shell)
    except LightVMError as exc:
        log.error("shell-not-discarded", uuid=shell.uuid, error=str(exc))
        return False
    return True
