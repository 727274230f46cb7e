"""From request to running domain.

``docs/walkthroughs/create.md`` follows a create through this file. It is a row of small steps, each with its undo: a
create that fails or is cancelled leaves nothing behind.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio

from lightvm import errors
from lightvm.daemon.burials import NO_ADDRESS
from lightvm.daemon.clock import WallClock
from lightvm.daemon.config import Config
from lightvm.daemon.console import ConsoleBuffer
from lightvm.daemon.devices import Devices
from lightvm.daemon.disk.disks import OpenDisk, close_disks, open_disks, pack_disks
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.events import EventBus
from lightvm.daemon.housekeeping import Housekeeper
from lightvm.daemon.images import ImageCache
from lightvm.daemon.journal import DomainRecord, Journal
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.net.networks import NOTHING, Assignment
from lightvm.daemon.net.room import NoRoom
from lightvm.daemon.plugger import Plugger, runs_early
from lightvm.daemon.quiet import Quiet
from lightvm.daemon.shell_maker import Shell, ShellMaker
from lightvm.daemon.shells import Pools, ShellPool
from lightvm.daemon.spinner import Spinner
from lightvm.daemon.stopwatch import NO_PHASES, Stopwatch
from lightvm.daemon.understanding import Understanding
from lightvm.daemon.wish import Wish, check_request
from lightvm.model import Created, CreateRequest, EventKind, Mode, Source, Vif, WaitFor
from lightvm.xen.hypervisor import Boot, Hypervisor, Scheduling
from lightvm.xen.image import Segment

log = structlog.get_logger()

# Before Python 3.12 an attribute of an enumeration costs as much as a call.
READY = WaitFor.READY
POOL, COLD = Source.POOL, Source.COLD
NOXS, XENSTORE = Mode.NOXS, Mode.XENSTORE

SOON_SECONDS = 0.05
"""A guest that is late is so by less, mostly: for so long nobody looks whether its caller is still there."""

_now = time.perf_counter_ns

Patiently = Callable[[Awaitable[None]], Awaitable[None]]
"""Awaits a long wait, but no longer than there is somebody who wants to know."""


async def in_any_case(wait: Awaitable[None]) -> None:
    """Await a long wait to its end."""
    await wait


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a shell is to become."""

    wish: Wish
    name: str
    boot: Boot
    vifs: tuple[Vif, ...]
    disks: tuple[OpenDisk, ...]
    scheduling: Scheduling | None
    watched: bool
    restarts: int


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A domain that runs, and whose caller has not been told yet."""

    request: CreateRequest
    domain: LiveDomain
    source: Source
    watch: Stopwatch
    watched: bool


class Creator:
    """Creates domains."""

    def __init__(
        self,
        *,
        config: Config,
        spin_us: int,
        hypervisor: Hypervisor,
        journal: Journal,
        registry: Registry,
        pools: Pools,
        quiet: Quiet,
        maker: ShellMaker,
        devices: Devices,
        bus: EventBus,
        lifecycle: Lifecycle,
        housekeeper: Housekeeper,
        plugger: Plugger,
        clock: WallClock,
        background: trio.Nursery,
    ) -> None:
        limits = self._limits = config.limits
        self._hypervisor = hypervisor
        self._journal = journal
        self._registry = registry
        self._pools = pools
        self._quiet = quiet
        self._maker = maker
        self._devices = devices
        images = ImageCache(
            image_bytes=limits.image_mib << 20, cache_bytes=limits.image_cache_mib << 20
        )
        self.understanding = Understanding(images, pools, devices.networks, hypervisor)
        self._bus = bus
        self._lifecycle = lifecycle
        self._housekeeper = housekeeper
        self._plugger = plugger
        self._clock = clock
        self.spinner = Spinner(hypervisor, spin_us)
        self._background = background

    async def create(
        self, request: CreateRequest, patiently: Patiently = in_any_case, *, restarts: int = 0
    ) -> Created:
        """Create a domain, from the pool where it can be.

        Raises `BadRequest`, `BadImage`, `NameTaken`, `NoSuchFlavor`, `OutOfMemory`, `HypercallError`,
        `JournalFailed`; and when told to wait for ready, `TimedOut` and `GuestExited`, which leave the domain be, and
        whatever `patiently` raises. Cancelled before the unpause, it leaves nothing behind; after it, the domain
        stays.
        """
        if request.token is None:
            return await self.complete(await self.begin(request, restarts=restarts), patiently)
        check_request(request)
        while True:
            async with self._registry.hold_token(request.token) as existing:
                if existing is None:
                    begun = await self.begin(request, restarts=restarts)
                    return await self.complete(begun, patiently)
            if not await self._plugger.is_under_way(existing):
                break
        if request.wait is not None and existing.exit is None:
            patience = self._patience(request)
            await patiently(self._lifecycle.wait(existing, request.wait, patience))
        return Created(domain=existing.describe(), source=Source.EXISTING, phases=NO_PHASES)

    async def begin(self, request: CreateRequest, *, restarts: int = 0) -> Begun:
        """Create a domain and let it run, but do not wait for it, nor look at its token; `complete` is to follow.

        Raises what `create` raises before the unpause; and `LinkFailed`, `StoreFailed` and `TimedOut` where a network
        cannot be had, with nothing left behind.
        """
        begun = _now()
        watch = Stopwatch(begun, begun)
        meant = self.understanding.recall(request) or await self.understanding.find(request)
        image, wish = meant.image, meant.wish
        shape, request = wish.shape, wish.request
        watched = request.wait is READY and self.spinner.pays()
        name = self._registry.reserve(request.name)
        self._quiet.begin_request()
        assignment = NOTHING
        modules: tuple[Segment, ...] = ()
        disks: tuple[OpenDisk, ...] = ()
        domain = None
        try:
            if request.disks:
                disks = await trio.to_thread.run_sync(open_disks, request.disks)
            if request.modules:
                modules = await wish.place_modules(image, self._limits.image_mib << 20)
            try:
                shell, assignment = self._take(wish)
            except NO_ADDRESS:
                shell, assignment = await self._lifecycle.burials.retry_after_each(
                    lambda: self._take(wish), self._limits.create_seconds
                )
            boot = Boot(
                image=image,
                cmdline=request.cmdline.encode() if request.cmdline else b"",
                modules=modules,
                name=name.encode(),
                metadata=request.metadata or b"",
                vifs=b"" if shape.xenstore else assignment.packed,
                vbds=pack_disks(disks) if disks and not shape.xenstore else b"",
            )
            plan = Plan(
                wish=wish,
                name=name,
                boot=boot,
                vifs=assignment.vifs,
                disks=disks,
                scheduling=meant.scheduling,
                watched=watched,
                restarts=restarts,
            )
            domain, source = await self._make(plan, shell, watch)
            if source is COLD and runs_early(shape):
                await self._plugger.plug(domain)
        finally:
            self._quiet.end_request()
            self._registry.unreserve(name)
            if disks:
                close_disks(disks)
            if domain is None:
                self._devices.networks.release(assignment.vifs)
        return Begun(request=request, domain=domain, source=source, watch=watch, watched=watched)

    async def complete(self, begun: Begun, patiently: Patiently = in_any_case) -> Created:
        """Wait for what the request says; raises what `create` raises after the unpause."""
        domain, request = begun.domain, begun.request
        watch = begun.watch
        if begun.watched and domain.handle is not None:
            watch.ready = self.spinner.spin(domain.handle)
            if watch.ready:
                self._lifecycle.hear_control(domain, watch.ready)
        if request.wait is READY:
            patience = self._patience(request)
            if patience > SOON_SECONDS:
                with trio.move_on_after(SOON_SECONDS):
                    await domain.wait_until(lambda: bool(domain.ready or domain.exit))
            if domain.ready is None:
                await patiently(self._lifecycle.wait(domain, READY, patience))
            watch.ready = watch.ready or _now()
        return Created(domain=domain.describe(), source=begun.source, phases=watch.phases())

    def _patience(self, request: CreateRequest) -> float:
        timeout = request.timeout_ms
        return self._limits.ready_seconds if timeout is None else timeout / 1000

    def _take(self, wish: Wish) -> tuple[Shell | None, Assignment]:
        """Take a shell where there is one, and addresses: those that it has ahead where others are not asked for."""
        shell = self._pools.take(wish.pool) if wish.pool else None
        try:
            ahead = () if shell is None else shell.leases
            return shell, self._devices.networks.assign(wish.nets, wish.request.token, ahead)
        except BaseException:
            if shell is not None:
                self._pools.put_back(shell)
            raise

    async def _make(
        self, plan: Plan, shell: Shell | None, watch: Stopwatch
    ) -> tuple[LiveDomain, Source]:
        """Make a domain of a shell, or of a new one where there is none, or where Xen has lost it."""
        while True:
            source = POOL
            if shell is None:
                shell, source = await self._make_cold(plan), COLD
                watch.prepared = _now()
            untold = shell.vifs != plan.vifs and (
                shell.shape.xenstore or self._devices.networks.are_guarded(plan.vifs)
            )
            if plan.disks or untold:
                await self._bind(shell, plan, untold)
            try:
                domain = self._finish(shell, plan, watch)
            except errors.HypercallError as exc:
                if exc.errno != errno.ESRCH:
                    raise
                log.warning("shell-lost", flavor=shell.flavor, domid=shell.handle.domid)
                shell = self._pools.take(plan.wish.pool) if plan.wish.pool else None
                if shell is not None:
                    self._devices.networks.take_back(*shell.leases)
                continue
            if shell.vifs != plan.vifs and not untold:
                self._devices.bind_later(shell.handle.domid, plan.vifs)
            return domain, source

    async def _bind(self, shell: Shell, plan: Plan, untold: bool) -> None:
        """Let a shell's devices stand for what was asked for; a shell that it fails on is given back."""
        with self._maker.working_on(shell.uuid):
            try:
                if plan.disks:
                    await self._devices.bind(shell.loops, plan.disks)
                if untold:
                    await self._devices.let_send(
                        shell.handle.domid, plan.vifs, xenstore=shell.shape.xenstore
                    )
                await trio.lowlevel.checkpoint_if_cancelled()
            except BaseException:
                if plan.wish.pool is not None:
                    plan.wish.pool.discarded += 1
                await self._discard(shell)
                raise

    async def _make_cold(self, plan: Plan) -> Shell:
        """Prepare a shell for one request; cancelled or too late, it leaves none."""
        wish = plan.wish
        try:
            with trio.fail_after(self._limits.create_seconds):
                networks = tuple(net.network for net in wish.nets)
                shell = await self._make_patiently(wish, networks, plan.vifs)
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

    async def _make_patiently(
        self, wish: Wish, networks: tuple[str, ...], vifs: tuple[Vif, ...]
    ) -> Shell:
        """Make a shell; memory and ports that a domain still holds that has ended are waited for."""
        while True:
            try:
                return await self._maker.make(
                    wish.flavor, wish.shape, networks, vifs, early=runs_early(wish.shape)
                )
            except (errors.OutOfMemory, NoRoom):
                if not await self._lifecycle.burials.wait_for_one():
                    raise

    def _finish(self, shell: Shell, plan: Plan, watch: Stopwatch) -> LiveDomain:
        """Make a shell a running domain. Nothing else runs meanwhile, so there are no half-way states."""
        handle = shell.handle
        try:
            watch.loaded = self._hypervisor.load(handle, plan.boot, watched=plan.watched)
            if plan.scheduling is not None:
                self._hypervisor.schedule(handle, plan.scheduling)
            domain = self.describe(shell, plan, self._clock.at(watch.loaded))
            self._journal.append(domain.record)
            if domain.record.paused:
                watch.journalled = watch.running = _now()
            else:
                watch.journalled, watch.running = self._hypervisor.unpause(handle)
        except BaseException:
            self.give_up(shell, plan.wish.pool)
            raise
        self.enter(domain)
        return domain

    def describe(self, shell: Shell, plan: Plan, created: float) -> LiveDomain:
        """Return the domain that a shell is to become; nothing is changed by that."""
        handle, request, shape = shell.handle, plan.wish.request, shell.shape
        paused = request.paused is True
        record = DomainRecord(
            uuid=shell.uuid,
            domid=handle.domid,
            console_port=handle.console_port,
            control_port=handle.control_port,
            name=plan.name,
            flavor=shell.flavor,
            memory_kib=shape.memory_kib,
            vcpus=shape.vcpus,
            created=created,
            request=request,
            mode=XENSTORE if shape.xenstore else NOXS,
            paused=paused,
            vifs=plan.vifs,
            vbds=tuple([disk.describe() for disk in plan.disks]) if plan.disks else (),
            restarts=plan.restarts,
        )
        console = ConsoleBuffer(self._limits.console_kib * 1024)
        domain = LiveDomain(record, handle, console, shell.dashed)
        domain.paused = paused
        return domain

    def enter(self, domain: LiveDomain) -> None:
        """Enter a domain that runs, or is paused, into the tables, and tell of it."""
        self._lifecycle.enter(domain)
        if self._bus.watched:
            self._bus.publish(EventKind.CREATED, domain.describe())
        self._housekeeper.settle_later(domain)

    def give_up(self, shell: Shell, pool: ShellPool | None) -> None:
        """Give a spoilt shell back, in the background."""
        if pool is not None:
            pool.discarded += 1
        self._background.start_soon(self._discard, shell)

    async def _discard(self, shell: Shell) -> None:
        try:
            await self._maker.discard(shell)
        except errors.LightVMError as exc:
            log.error("shell-not-discarded", uuid=shell.uuid, error=str(exc))
