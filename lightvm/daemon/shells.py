"""Pools of shells: one per flavor, filled in the background between two water marks."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import structlog
import trio

from lightvm.daemon.config import Config
from lightvm.daemon.quiet import Quiet
from lightvm.daemon.shell_maker import Shell, ShellMaker
from lightvm.errors import LightVMError, NoSuchFlavor
from lightvm.model import Flavor, Mode, NetRequest, Pool
from lightvm.xen.hypervisor import Hypervisor, Shape

log = structlog.get_logger()

MAX_WINDOW_KIB = 65536
"""No shell keeps more than this mapped; of a larger image the rest is mapped while it is copied."""


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
                    await _gave_back(self._maker.discard, shell)
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
        ended = []
        async with self._making:
            # All domains have gone before devices of any are removed: when one has died xenstored asks Xen about each
            # that it knows, and a removal waits for xenstored.
            for pool in self:
                while pool.shells:
                    shell = pool.shells.pop()
                    if await _gave_back(self._maker.end, shell):
                        ended.append(shell)
            for shell in ended:
                await _gave_back(self._maker.disconnect, shell)


async def _gave_back(give_back: Callable[[Shell], Awaitable[None]], shell: Shell) -> bool:
    """Give a shell back, or a part of it; log why that has failed, and return whether it has not."""
    try:
        await give_back(shell)
    except LightVMError as exc:
        log.error("shell-not-discarded", uuid=shell.uuid, error=str(exc))
        return False
    return True
