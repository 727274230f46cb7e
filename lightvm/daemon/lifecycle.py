"""From a running domain to nothing left: every change of a domain goes through here.

``docs/walkthroughs/end.md`` follows an end through this file. A change that fails or is cancelled leaves nothing
half-made. Where giving a resource back fails, the journal keeps the domain, and the next start of the daemon tries
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import structlog
import trio

from lightvm import errors
from lightvm.daemon.burials import Burials
from lightvm.daemon.clock import WallClock
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.events import EventBus
from lightvm.daemon.journal import ExitRecord, GoneRecord, Journal
from lightvm.daemon.shell_maker import UNDO_SECONDS
from lightvm.daemon.xenstore.names import NameKeeper
from lightvm.model import EventKind, Exit, ExitReason, Policy, WaitFor
from lightvm.xen.domain_info import exit_reason
from lightvm.xen.hypervisor import Handle, Hypervisor

log = structlog.get_logger()

MOST_BURIALS = 1024
"""With so many under way a destroy waits for its own, so that no caller gets far ahead of Xen."""

# Before Python 3.12 an attribute of an enumeration costs as much as a call.
DESTROYED = ExitReason.DESTROYED


class Lifecycle:
    """Changes and ends domains."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        journal: Journal,
        registry: Registry,
        names: NameKeeper,
        devices: Devices,
        bus: EventBus,
        clock: WallClock,
        background: trio.Nursery,
        wait_seconds: float,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._registry = registry
        self._names = names
        self._devices = devices
        self._bus = bus
        self._clock = clock
        self._wait_seconds = wait_seconds
        self.routes: dict[int, tuple[LiveDomain, bool]] = {}
        """Which domain an event is for, and whether it is the console's."""
        self.burials = Burials(self._bury, background)
        self.on_end: Callable[[LiveDomain], None] = lambda domain: None
        """Called with each domain that has ended, but for those that a caller has destroyed without waiting."""

    def enter(self, domain: LiveDomain) -> None:
        """Enter a running domain: from here on it is found, and its events are heard."""
        handle = domain.handle
        assert handle is not None
        self._registry.add(domain)
        self.routes[handle.console_event] = (domain, True)
        self.routes[handle.control_event] = (domain, False)

    # Changes

    async def pause(self, domain: LiveDomain) -> None:
        """Stop a domain's vCPUs; one that is paused stays so."""
        async with domain.lock:
            handle = self.running(domain)
            if not domain.paused:
                self._note_paused(domain, True)
                self._hypervisor.pause(handle)
                domain.paused = True
                self._publish(EventKind.PAUSED, domain)

    async def unpause(self, domain: LiveDomain) -> None:
        """Let a domain's vCPUs run; one that runs goes on."""
        async with domain.lock:
            handle = self.running(domain)
            if domain.paused:
                self._note_paused(domain, False)
                self._hypervisor.unpause(handle)
                domain.paused = False
                self._publish(EventKind.UNPAUSED, domain)

    def note_paused(self, domain: LiveDomain, *, was: bool) -> None:
        """Note that somebody else has paused a domain, or let it run, unless it changes here just now."""
        if domain.lock.locked() or domain.paused is not was:
            return
        try:
            self._note_paused(domain, not was)
        except errors.JournalFailed as exc:
            log.error("pause-not-journalled", domain=domain.record.name, error=str(exc))
        domain.paused = not was
        self._publish(EventKind.UNPAUSED if was else EventKind.PAUSED, domain)

    def _note_paused(self, domain: LiveDomain, paused: bool) -> None:
        """Write down what the owner wants, so that a later daemon can tell it from a create that was cut off."""
        record = msgspec.structs.replace(domain.record, paused=paused)
        self._journal.append(record)
        domain.record = record

    def running(self, domain: LiveDomain) -> Handle:
        """Return the handle of a domain that has not exited; raises `NotPossibleNow`."""
        if domain.exit is not None or domain.handle is None:
            raise errors.NotPossibleNow("the domain has exited", domain.record.name)
        return domain.handle

    def _publish(self, kind: EventKind, domain: LiveDomain) -> None:
        domain.changed()
        if self._bus.watched:
            self._bus.publish(kind, domain.describe())

    def mark_ready(self, domain: LiveDomain, moment: int | None = None) -> None:
        """Note that a guest has said it is ready, now or at a moment of `time.perf_counter_ns`."""
        if domain.ready is None and domain.exit is None:
            domain.ready = time.time() if moment is None else self._clock.at(moment)
            self._publish(EventKind.READY, domain)

    def hear_control(self, domain: LiveDomain, moment: int | None = None) -> None:
        """Read a domain's control page, and act on what is new there, now or since a moment."""
        handle = domain.handle
        if handle is None:
            return
        control = self._hypervisor.read_control(handle)
        domain.acknowledged = control.acknowledged
        if control.ready == 1:
            self.mark_ready(domain, moment)
        if control.exiting == 1:
            status = control.exit_status
            status -= (status & 0x8000_0000) << 1  # two's complement
            self.end(domain, exit_reason(control.exit_reason), status)

    # The end

    def end(self, domain: LiveDomain, reason: ExitReason, status: int | None = None) -> None:
        """Note that a domain has ended, once; whoever waits for it is told, and its resources go back."""
        if domain.exit is not None:
            return
        domain.destroyed = reason is ExitReason.LOST
        self._note_exit(domain, reason, status)
        self.drain_console(domain)
        self._registry.retire(domain)
        self._publish(EventKind.EXITED, domain)
        self._see_off(domain)

    def _note_exit(self, domain: LiveDomain, reason: ExitReason, status: int | None = None) -> None:
        domain.exit = Exit(reason=reason, at=time.time(), status=status)
        try:
            self._journal.append(ExitRecord(uuid=domain.record.uuid, exit=domain.exit))
        except errors.JournalFailed as exc:
            log.error("exit-not-journalled", domain=domain.record.name, error=str(exc))

    def keep_exited(self, domain: LiveDomain) -> None:
        """Take in a domain that ended while no daemon ran, and give back what it still holds."""
        self._registry.retire(domain)
        self._see_off(domain)

    def _see_off(self, domain: LiveDomain) -> None:
        """Do with a domain that has ended what its owner wants."""
        self.on_end(domain)
        if domain.policy is not Policy.PRESERVE:
            self.burials.note(domain)
        elif domain.handle is not None:
            try:
                self._hypervisor.pause(domain.handle)  # its word is not proof that it stands still
            except errors.LightVMError as exc:
                log.warning("not-paused", domain=domain.record.name, error=str(exc))

    async def _bury(self, domain: LiveDomain) -> None:
        await self._give_all_back(domain)
        if not domain.destroyed and domain.record.uuid not in self._registry.exited:
            self._registry.retire(domain)  # so that it is seen, and can be destroyed again

    async def _give_all_back(self, domain: LiveDomain) -> None:
        """Give back all that an ended domain holds in Xen and XenStore. May be called again."""
        record = domain.record
        domain.stuck = False
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
        if record.in_store and not await self._unplug(domain):
            return
        await self._names.remove(record.domid)
        if record.uuid not in self._registry.exited:
            self._journal_gone(domain)

    async def _unplug(self, domain: LiveDomain) -> bool:
        """Remove an ended domain's devices; return False where that failed, and the next start is to try again."""
        record = domain.record
        try:
            await self._devices.disconnect(record.domid, record.uuid)
        except errors.LightVMError as exc:
            log.error("devices-not-removed", domain=record.name, domid=record.domid, error=str(exc))
            domain.stuck = True
            return False
        return True

    async def _give_back(self, domain: LiveDomain) -> None:
        """Release and destroy, shielded and bounded; raises `HypercallError` and `TimedOut`. May be called again."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + UNDO_SECONDS):
            if domain.handle is not None:
                await self._release(domain, domain.handle)
            if not domain.destroyed:
                await self._hypervisor.destroy(domain.record.domid)
                domain.destroyed = True
            if not domain.addresses_free:  # nobody sends from them any more
                domain.addresses_free = True
                self._devices.networks.release(domain.record.vifs)
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
            if not domain.corrupt:  # once: a guest could say it for ever
                log.warning("console-corrupt", domain=domain.record.name, error=str(exc))
            domain.corrupt = True
            return
        if data:
            domain.console.append(data)
            domain.changed()

    async def destroy(
        self, domain: LiveDomain, *, wait: bool = True, noted: Callable[[], None] | None = None
    ) -> None:
        """End a domain where it still runs, give its resources back, and forget it.

        Returns when Xen has destroyed it, and its addresses and the files of its disks are free. Raises
        `HypercallError` where that failed and `TimedOut` where it took too long; it can then be destroyed again.

        Without `wait` it returns when the domain stands still for good and its name is free; the rest is done in the
        background, but for disks, whose files are free in any case. Then `noted` is called where it ends by this: when
        nothing can go wrong any more, and nothing but the daemon's own tables, in the same step, is left to do.
        """
        wait = (
            wait
            or domain.stuck
            or bool(domain.record.vbds)
            or len(self.burials.under_way) >= MOST_BURIALS
        )
        if (
            domain.handle is not None
        ):  # its word that it has ended is not proof that it stands still
            try:
                self._hypervisor.pause(domain.handle)  # it answers nobody who asks it from now on
            except errors.HypercallError:  # it may be gone
                wait = True
        if wait:
            self.end(domain, DESTROYED)
            async with domain.lock:
                await self._give_back(domain)
                if domain.record.vbds:
                    await self._unplug(domain)
        elif domain.exit is None:
            # Nobody finds it among the exited ones, no policy counts, and its burial reads its console.
            self._note_exit(domain, DESTROYED)
            if noted is not None:
                noted()
            if self._bus.watched:
                self._bus.publish(EventKind.EXITED, domain.describe())
        self.forget(domain)
        if self._bus.watched:
            self._bus.publish(EventKind.DESTROYED, domain.describe())

    def forget(self, domain: LiveDomain) -> None:
        """Drop the record of an ended domain; the journal lets it go when its last resource is given back."""
        self._registry.forget(domain)
        domain.changed()
        self._journal_forgotten(domain)
        self.burials.note(domain)

    def _journal_forgotten(self, domain: LiveDomain) -> None:
        """Write down that nobody wants to see an ended domain again, in case the daemon dies before it is buried."""
        if domain.exit is not None and domain.exit.reason is DESTROYED:
            return  # its exit says so
        if domain.record.uuid not in self._journal.past.domains:
            return  # it has let it go already
        forgotten = Exit(reason=DESTROYED, at=time.time())
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
        limit = self._wait_seconds if seconds is None else min(seconds, self._wait_seconds)
        with trio.move_on_after(limit):
            await domain.wait_until(lambda: reached() or domain.exit is not None)
        if not reached():
            if domain.exit is not None:
                raise errors.GuestExited(
                    f"the guest has ended ({domain.exit.reason})", domain.record.name
                )
            raise errors.TimedOut(f"not {until} after {limit:g} s", domain.record.name)
