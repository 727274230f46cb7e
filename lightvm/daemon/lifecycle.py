"""From request to running domain, and from its end to nothing left: every change of a domain goes through here.

``docs/walkthroughs/create.md`` follows a create through this file. A change is a row of small steps, each with its
undo; a failed or cancelled change leaves nothing behind. Where giving a resource back fails, the journal keeps the
domain, and the next start of the daemon tries again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import trio

from lightvm import errors
from lightvm.daemon.config import Config
from lightvm.daemon.console import ConsoleBuffer
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.events import EventBus
from lightvm.daemon.housekeeping import Housekeeper
from lightvm.daemon.images import ImageCache
from lightvm.daemon.journal import DomainRecord, ExitRecord, GoneRecord, Journal
from lightvm.daemon.shells import UNDO_SECONDS, Pools, Shell, ShellMaker
from lightvm.daemon.spinner import Spinner
from lightvm.daemon.wish import Wish, check_request
from lightvm.daemon.xenstore import NameKeeper
from lightvm.model import (
    Created,
    CreateRequest,
    EventKind,
    Exit,
    ExitReason,
    Phases,
    Source,
    WaitFor,
)
from lightvm.xen.hypervisor import Boot, Handle, Hypervisor, exit_reason

log = structlog.get_logger()

_now = time.perf_counter_ns
NO_PHASES = Phases(prepare_us=0, load_us=0, journal_us=0, unpause_us=0, total_us=0)


@dataclass(slots=True)
class Stopwatch:
    """Moments of one create, in nanoseconds."""

    begun: int
    taken: int = 0
    loaded: int = 0
    journalled: int = 0
    running: int = 0

    def phases(self, *, cold: bool, ready: bool) -> Phases:
        """Return the phases so far, in microseconds."""
        now = _now()
        return Phases(
            prepare_us=(self.taken - self.begun) // 1000 if cold else 0,
            load_us=(self.loaded - self.taken) // 1000,
            journal_us=(self.journalled - self.loaded) // 1000,
            unpause_us=(self.running - self.journalled) // 1000,
            ready_us=(now - self.running) // 1000 if ready else None,
            total_us=(now - self.begun) // 1000,
        )


class Lifecycle:
    """Creates, changes and ends domains."""

    def __init__(
        self,
        *,
        config: Config,
        hypervisor: Hypervisor,
        journal: Journal,
        registry: Registry,
        pools: Pools,
        maker: ShellMaker,
        images: ImageCache,
        names: NameKeeper,
        bus: EventBus,
        housekeeper: Housekeeper,
        background: trio.Nursery,
    ) -> None:
        self._limits = config.limits
        self._hypervisor = hypervisor
        self._journal = journal
        self._registry = registry
        self._pools = pools
        self._maker = maker
        self._images = images
        self._names = names
        self._bus = bus
        self._housekeeper = housekeeper
        self._spinner = Spinner(hypervisor, config.pool.ready_spin_us)
        self._background = background
        self._tokens: dict[str, LiveDomain | trio.Event] = {}
        """Who has a token: a domain, or the request that is making one, as an event for those who wait for it."""
        self.routes: dict[int, tuple[LiveDomain, bool]] = {}
        """Which domain an event is for, and whether it is the console's."""

    # Create

    async def create(self, request: CreateRequest) -> Created:
        """Create a domain, from the pool where it can be.

        Raises `BadRequest`, `BadImage`, `NameTaken`, `NoSuchFlavor`, `OutOfMemory`, `HypercallError`,
        `JournalFailed`; and when told to wait for ready, `TimedOut` and `GuestExited`, which leave the domain be.
        Cancelled before the unpause, it leaves nothing behind; after it, the domain stays.
        """
        watch = Stopwatch(_now())
        if request.token is None:
            return await self._create(request, watch)
        async with self._token(request.token) as existing:
            if existing is None:
                return await self._create(request, watch)
        return Created(domain=existing.describe(), source=Source.EXISTING, phases=NO_PHASES)

    @asynccontextmanager
    async def _token(self, token: str) -> AsyncIterator[LiveDomain | None]:
        """Hold a token: yields its domain, or None to him who is to make it; the others wait for him."""
        while isinstance(holder := self._tokens.get(token), trio.Event):
            await holder.wait()
        if holder is not None:
            yield holder
            return
        settled = self._tokens[token] = trio.Event()
        try:
            yield None
        finally:
            if self._tokens.get(token) is settled:
                del self._tokens[token]
            settled.set()

    async def _create(self, request: CreateRequest, watch: Stopwatch) -> Created:
        wish = check_request(request, self._pools)
        image = self._images.get_nowait(wish.image) or await self._images.get(wish.image)
        boot = await wish.boot(image, self._limits.image_mib << 20)
        watched = wish.wait is WaitFor.READY and self._spinner.pays()
        self._registry.reserve(wish.name)
        self._pools.begin_request()
        try:
            shell = self._pools.take(wish.pool) if wish.pool else None
            cold = shell is None
            if shell is None:
                shell = await self._make_cold(wish)
            watch.taken = _now()
            if wish.pool is not None:
                wish.pool.fit_window(image.end)
            domain = self._finish(shell, wish, boot, watch, watched=watched)
        finally:
            self._pools.end_request()
            self._registry.unreserve(wish.name)
        if watched and self._spinner.spin(shell.handle):
            self.hear_control(domain)
        if wish.wait is WaitFor.READY and domain.ready is None:
            await self._wait_ready(domain, wish)
        return Created(
            domain=domain.describe(),
            source=Source.COLD if cold else Source.POOL,
            phases=watch.phases(cold=cold, ready=wish.wait is WaitFor.READY),
        )

    async def _make_cold(self, wish: Wish) -> Shell:
        """Prepare a shell for one request; cancelled or too late, it leaves none."""
        try:
            with trio.fail_after(self._limits.create_seconds):
                shell = await self._maker.make(wish.flavor, wish.shape)
                try:
                    await trio.lowlevel.checkpoint_if_cancelled()
                except trio.Cancelled:
                    await self._discard(shell)
                    raise
                return shell
        except trio.TooSlowError:
            raise errors.TimedOut(
                f"no shell after {self._limits.create_seconds:g} s; nothing was created"
            ) from None

    def _finish(
        self, shell: Shell, wish: Wish, boot: Boot, watch: Stopwatch, *, watched: bool
    ) -> LiveDomain:
        """Make a shell a running domain. Nothing else runs meanwhile, so there are no half-way states."""
        handle = shell.handle
        try:
            self._hypervisor.load(handle, boot, watched=watched)
            watch.loaded = _now()
            record = DomainRecord(
                uuid=shell.uuid,
                domid=handle.domid,
                console_port=handle.console_port,
                control_port=handle.control_port,
                name=wish.name,
                flavor=shell.flavor,
                image=wish.image,
                cmdline=wish.cmdline,
                memory_kib=shell.shape.memory_kib,
                vcpus=shell.shape.vcpus,
                created=time.time(),
                token=wish.token,
            )
            domain = LiveDomain(record, handle, ConsoleBuffer(self._limits.console_kib * 1024))
            self._journal.append(record)
            watch.journalled = _now()
            if not wish.paused:
                self._hypervisor.unpause(handle)
            watch.running = _now()
        except BaseException:
            self._background.start_soon(self._discard, shell)
            raise
        domain.paused = wish.paused
        self.enter(domain)
        if self._bus.watched:
            self._bus.publish(EventKind.CREATED, domain.describe())
        self._housekeeper.settle_later(domain)
        return domain

    async def _discard(self, shell: Shell) -> None:
        try:
            await self._maker.discard(shell)
        except errors.LightVMError as exc:
            log.error("shell-not-discarded", uuid=shell.uuid, error=str(exc))

    async def _wait_ready(self, domain: LiveDomain, wish: Wish) -> None:
        """Wait until the guest says that it is ready; raises `TimedOut` and `GuestExited`."""
        seconds = self._limits.ready_seconds if wish.timeout is None else wish.timeout
        with trio.move_on_after(seconds):
            await domain.wait_until(lambda: domain.ready is not None or domain.exit is not None)
        if domain.ready is None:
            what = f"domain {domain.record.name}"
            if domain.exit is not None:
                raise errors.GuestExited(
                    f"the guest ended ({domain.exit.reason}) before it was ready", what
                )
            raise errors.TimedOut(
                f"not ready after {seconds:g} s; the domain was left running", what
            )

    def enter(self, domain: LiveDomain) -> None:
        """Enter a running domain: from here on it is found, and its events are heard."""
        handle = domain.handle
        assert handle is not None
        self._registry.add(domain)
        self.routes[handle.console_event] = (domain, True)
        self.routes[handle.control_event] = (domain, False)
        if domain.record.token is not None:
            self._tokens[domain.record.token] = domain

    # Changes

    async def pause(self, domain: LiveDomain) -> None:
        """Stop a domain's vCPUs; one that is paused stays so."""
        async with domain.lock:
            handle = self._running(domain)
            if not domain.paused:
                self._hypervisor.pause(handle)
                domain.paused = True
                self._publish(EventKind.PAUSED, domain)

    async def unpause(self, domain: LiveDomain) -> None:
        """Let a domain's vCPUs run; one that runs goes on."""
        async with domain.lock:
            handle = self._running(domain)
            if domain.paused:
                self._hypervisor.unpause(handle)
                domain.paused = False
                self._publish(EventKind.UNPAUSED, domain)

    def _running(self, domain: LiveDomain) -> Handle:
        if domain.exit is not None or domain.handle is None:
            raise errors.NotPossibleNow("the domain has exited", domain.record.name)
        return domain.handle

    def _publish(self, kind: EventKind, domain: LiveDomain) -> None:
        domain.changed()
        if self._bus.watched:
            self._bus.publish(kind, domain.describe())

    def mark_ready(self, domain: LiveDomain) -> None:
        """Note that a guest has said it is ready."""
        if domain.ready is None and domain.exit is None:
            domain.ready = time.time()
            self._publish(EventKind.READY, domain)

    def hear_control(self, domain: LiveDomain) -> None:
        """Read a domain's control page, and act on what is new there."""
        handle = domain.handle
        if handle is None:
            return
        control = self._hypervisor.read_control(handle)
        if control.ready == 1:
            self.mark_ready(domain)
        if control.exiting == 1:
            status = control.exit_status
            status -= (status & 0x8000_0000) << 1  # two's complement
            self.end(domain, exit_reason(control.exit_reason), status)

    # The end

    def end(self, domain: LiveDomain, reason: ExitReason, status: int | None = None) -> None:
        """Note that a domain has ended, once; whoever waits for it is told, and its resources go back."""
        if domain.exit is not None:
            return
        self.drain_console(domain)
        domain.destroyed = reason is ExitReason.LOST
        domain.exit = Exit(reason=reason, at=time.time(), status=status)
        self._registry.retire(domain)
        try:
            self._journal.append(ExitRecord(uuid=domain.record.uuid, exit=domain.exit))
        except errors.JournalFailed as exc:
            log.error("exit-not-journalled", domain=domain.record.name, error=str(exc))
        self._publish(EventKind.EXITED, domain)
        self._background.start_soon(self.bury, domain)

    def keep_exited(self, domain: LiveDomain) -> None:
        """Take in a domain that ended while no daemon ran, and give back what it still holds."""
        self._registry.retire(domain)
        if domain.record.token is not None:
            self._tokens[domain.record.token] = domain
        self._background.start_soon(self.bury, domain)

    async def bury(self, domain: LiveDomain) -> None:
        """Give back all that an ended domain holds in Xen and XenStore. May be called again."""
        record = domain.record
        async with domain.lock:
            try:
                await self._give_back(domain)
            except errors.LightVMError as exc:
                log.error(
                    "domain-not-buried", domain=record.name, domid=record.domid, error=str(exc)
                )
                domain.stuck = True
                domain.changed()
                return
        domain.changed()
        await self._names.remove(record.domid)
        if record.uuid not in self._registry.exited:
            self._journal_gone(domain)

    async def _give_back(self, domain: LiveDomain) -> None:
        """Release and destroy, shielded and bounded; raises `HypercallError` and `TimedOut`. May be called again."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + UNDO_SECONDS):
            if domain.handle is not None:
                await self._release(domain, domain.handle)
            if not domain.destroyed:
                await self._hypervisor.destroy(domain.record.domid)
                domain.destroyed = True
            return
        raise errors.TimedOut(f"not given back after {UNDO_SECONDS:g} s", domain.record.name)

    async def _release(self, domain: LiveDomain, handle: Handle) -> None:
        self.drain_console(domain)
        domain.handle = None
        self.routes.pop(handle.console_event, None)
        self.routes.pop(handle.control_event, None)
        try:
            await self._hypervisor.release(handle)
        except BaseException:
            domain.handle = handle  # still held, for the next attempt
            raise

    def drain_console(self, domain: LiveDomain) -> None:
        """Move what is in the console ring into the buffer, once: what comes meanwhile raises an event of its own."""
        handle = domain.handle
        if handle is None:
            return
        try:
            data = self._hypervisor.take_console(handle)
        except errors.LightVMError as exc:
            log.warning("console-corrupt", domain=domain.record.name, error=str(exc))
            return
        if data:
            domain.console.append(data)
            domain.changed()

    async def destroy(self, domain: LiveDomain) -> None:
        """End a domain where it still runs, give its resources back, and forget it.

        Returns when Xen has destroyed it. Raises `HypercallError` where that failed and `TimedOut` where it took too
        long; the domain can then be destroyed again.
        """
        self.end(domain, ExitReason.DESTROYED)
        async with domain.lock:
            await self._give_back(domain)
        self.forget(domain)
        if self._bus.watched:
            self._bus.publish(EventKind.DESTROYED, domain.describe())

    def forget(self, domain: LiveDomain) -> None:
        """Drop the record of an ended domain; the journal lets it go when its last resource is given back."""
        self._registry.forget(domain)
        token = domain.record.token
        if token is not None and self._tokens.get(token) is domain:
            del self._tokens[token]
        domain.changed()
        self._journal_forgotten(domain)
        self._background.start_soon(self.bury, domain)

    def _journal_forgotten(self, domain: LiveDomain) -> None:
        """Write down that nobody wants to see an ended domain again, in case the daemon dies before `bury`."""
        if domain.exit is not None and domain.exit.reason is ExitReason.DESTROYED:
            return  # its exit says so
        forgotten = Exit(reason=ExitReason.DESTROYED, at=time.time())
        try:
            self._journal.append(ExitRecord(uuid=domain.record.uuid, exit=forgotten))
        except errors.JournalFailed as exc:
            log.error("end-not-journalled", domain=domain.record.name, error=str(exc))

    def _journal_gone(self, domain: LiveDomain) -> None:
        if domain.record.uuid not in self._journal.past.domains:
            return  # it says so already
        try:
            self._journal.append(GoneRecord(uuid=domain.record.uuid))
        except errors.JournalFailed as exc:
            log.error("end-not-journalled", domain=domain.record.name, error=str(exc))

    async def forget_exited(self) -> None:
        """Drop exited domains that are over the bound in number or age, and keep the journal short, for ever."""
        while True:
            for domain in self._registry.overdue():
                self.forget(domain)
            try:
                self._journal.tend()
            except errors.JournalFailed as exc:
                log.error("journal-not-tended", error=str(exc))
            await trio.sleep(1)

    # Waiting

    async def wait(self, domain: LiveDomain, until: WaitFor, seconds: float | None) -> None:
        """Wait until a domain runs, is ready, or has exited; raises `TimedOut`, and `GuestExited` for the first two."""
        conditions: dict[WaitFor, Callable[[], bool]] = {
            WaitFor.RUNNING: lambda: domain.exit is None and not domain.paused,
            WaitFor.READY: lambda: domain.ready is not None,
            WaitFor.EXITED: lambda: domain.exit is not None,
        }
        reached = conditions[until]
        limit = (
            self._limits.wait_seconds
            if seconds is None
            else min(seconds, self._limits.wait_seconds)
        )
        with trio.move_on_after(limit):
            await domain.wait_until(lambda: reached() or domain.exit is not None)
        if not reached():
            if domain.exit is not None:
                raise errors.GuestExited(
                    f"the guest has ended ({domain.exit.reason})", domain.record.name
                )
            raise errors.TimedOut(f"not {until} after {limit:g} s", domain.record.name)
