"""A hypervisor in memory, for unit, fault and cancellation tests; public through `lightvm.testing`.

Its guests (`lightvm.xen.fake_guests`) do what those of ``native/guest`` do, as far as a caller of the seam can see.
Faults are injected by the name of a method: `FakeHypervisor.fail` makes the next call of a method raise,
`FakeHypervisor.hang` makes calls of an async method wait until the returned event is set.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress

import trio

from lightvm.errors import HypercallError, OutOfMemory
from lightvm.model import ExitReason
from lightvm.xen.device_page import (
    METADATA_MAX,
    NAME_MAX,
    VBD_CONFIG,
    VIF_CONFIG,
)
from lightvm.xen.domain_info import DomainInfo, Watched
from lightvm.xen.express import Ticket
from lightvm.xen.fake_domain import FakeDomain, FakeHandle, describe, gone, is_good
from lightvm.xen.fake_express import FakeExpress
from lightvm.xen.fake_guests import FakeGuests
from lightvm.xen.hypervisor import (
    Boot,
    Control,
    Handle,
    Host,
    Scheduling,
    Shape,
    Unpaused,
    Versions,
)
from lightvm.xen.image import CMDLINE_MAX, LOW_RAM_LIMIT

OVERHEAD_KIB = 1108
"""What a fake domain costs beside its RAM."""

CPUS = 2

_FLOOD = b"flood " * 340
_RING_BYTES = 2048
_MODULES_ROOM = 15
"""Entries of the boot page's module list beside the device page's."""


class FakeHypervisor(FakeExpress):
    """See `lightvm.xen.hypervisor.Hypervisor` for the contract.

    `domains` are those that exist, by domid; `foreign` adds one that is not ours; `calls` counts calls by name.
    """

    def __init__(self, *, total_kib: int = 4 * 1024 * 1024) -> None:
        self.total_kib = total_kib
        self.domains: dict[int, FakeDomain] = {}
        self.cpupools = {0}
        self.calls: Counter[str] = Counter()
        self.closed = False
        self._next_domid = 1
        self._next_event = 100
        self._pending: dict[int, None] = {}
        self._masked: dict[int, bool] = {}
        self._due: set[int] = set()
        self._raised = trio.Event()
        self.events_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self.events_fd)
        self._failures: defaultdict[str, deque[Exception | None]] = defaultdict(deque)
        self._hangs: dict[str, trio.Event] = {}
        self._guests = FakeGuests(
            lambda domain: self._signal(domain, console=True),
            lambda domain: self._signal(domain, console=False),
        )

    # Faults

    def fail(self, method: str, error: Exception | None = None, *, after: int = 0) -> None:
        """Make the next call of `method`, after so many that succeed, raise `error`, by default a `HypercallError`."""
        self._failures[method].extend([None] * after)
        self._failures[method].append(error or HypercallError("injected", method, errno=14))

    def hang(self, method: str) -> trio.Event:
        """Make calls of the async `method` wait, cancellation held off as in a thread, until the event is set."""
        self._hangs[method] = trio.Event()
        return self._hangs[method]

    def foreign(self, *, memory_kib: int = 65536) -> int:
        """Add a running domain that somebody else made; return its domid."""
        domain = self._new(Shape.of(memory_kib, 1), os.urandom(16))
        domain.paused = False
        return domain.domid

    def kill(self, domid: int) -> None:
        """Destroy a domain as ``xl destroy`` would."""
        del self.domains[domid]

    def crash(self, domid: int) -> None:
        """Make a domain crash without a word."""
        self.domains[domid].shutdown_code = 3

    def forget_handles(self) -> None:
        """Drop all mappings and bindings, as the death of the process does."""
        for domain in self.domains.values():
            domain.handle = None
        self._pending.clear()
        self._masked.clear()
        self._due.clear()

    def _enter(self, method: str) -> None:
        self.calls[method] += 1
        error = self._failures[method].popleft() if self._failures[method] else None
        if error is not None:
            raise error

    async def _enter_slow(self, method: str) -> None:
        await trio.lowlevel.checkpoint()
        self._enter(method)
        hang = self._hangs.get(method)
        if hang is not None:
            with trio.CancelScope(shield=True):
                await hang.wait()

    # The seam

    @property
    def versions(self) -> Versions:
        """Say what is faked."""
        return Versions(xen="4.20-fake", domctl=0x17, sysctl=0x15)

    def host(self) -> Host:
        """Return the memory that is left."""
        self._enter("host")
        return Host(total_kib=self.total_kib, free_kib=self._free_kib(), scrub_kib=0, cpus=CPUS)

    def _free_kib(self) -> int:
        used = sum(d.shape.memory_kib + OVERHEAD_KIB for d in self.domains.values())
        return self.total_kib - used

    def _new(self, shape: Shape, uuid: bytes) -> FakeDomain:
        domain = FakeDomain(domid=self._next_domid, uuid=uuid, shape=shape)
        self._next_domid += 1
        self.domains[domain.domid] = domain
        return domain

    def _hold(self, domain: FakeDomain, *, window: bool) -> FakeHandle:
        shape = domain.shape
        vifs, vbds = (shape.vifs, shape.vbds) if window and not shape.xenstore else (0, 0)
        handle = FakeHandle(
            domain.domid,
            self._next_event,
            self._next_event + 1,
            vif_ports=tuple(range(3, 3 + vifs)),
            vbd_ports=tuple(range(3 + vifs, 3 + vifs + vbds)),
            store_port=3 if shape.xenstore and window else 0,
            window=window,
        )
        self._next_event += 2
        self._masked |= {handle.console_event: False, handle.control_event: False}
        domain.handle = handle
        for event in (handle.console_event, handle.control_event):
            self._raise(event)  # as the binding of a channel does
        return handle

    async def prepare(self, shape: Shape, uuid: bytes, *, cpupool: int = 0) -> Handle:
        """Make a shell."""
        await self._enter_slow("prepare")
        if not is_good(shape):
            raise HypercallError(os.strerror(22), "shape", errno=22)
        if cpupool not in self.cpupools:
            raise HypercallError(os.strerror(3), "createdomain", errno=3)
        if shape.memory_kib + OVERHEAD_KIB > self._free_kib():
            raise OutOfMemory("Xen has no memory left for this", "populate_physmap")
        domain = self._new(shape, uuid)
        domain.cpupool = cpupool
        return self._hold(domain, window=True)

    async def adopt(self, domid: int, console_port: int, control_port: int) -> Handle:
        """Take hold again of a domain."""
        await self._enter_slow("adopt")
        domain = self.domains.get(domid)
        if domain is None or (console_port, control_port) != (1, 2) or domain.handle is not None:
            raise HypercallError(os.strerror(3), "map special pages", errno=3)
        domain.watched = False
        return self._hold(domain, window=False)

    def load(self, handle: Handle, boot: Boot, *, watched: bool = False) -> int:
        """Note the image."""
        self._enter("load")
        domain = self._held(handle)
        top = min(domain.shape.memory_kib * 1024, LOW_RAM_LIMIT)
        if not _held(handle).window:
            raise HypercallError(os.strerror(22), "load", errno=22)
        if len(boot.cmdline) > CMDLINE_MAX or len(boot.modules) > _MODULES_ROOM:
            raise HypercallError(os.strerror(7), "command line or modules", errno=7)
        if len(boot.name) > NAME_MAX or len(boot.metadata) > METADATA_MAX:
            raise HypercallError(os.strerror(7), "name or metadata", errno=7)
        vifs, vbds = len(boot.vifs) // VIF_CONFIG.size, len(boot.vbds) // VBD_CONFIG.size
        lean = not domain.shape.xenstore
        if vifs > domain.shape.vifs * lean or vbds > domain.shape.vbds * lean:
            raise HypercallError(os.strerror(19), "devices", errno=19)
        if boot.image.end > top or any(module.end > top for module in boot.modules):
            raise HypercallError(os.strerror(34), "place segment", errno=34)
        domain.boot, domain.watched = boot, watched
        return time.perf_counter_ns()

    def schedule(self, handle: Handle, scheduling: Scheduling) -> None:
        """Note where and how much the domain may run."""
        self._enter("schedule")
        if any(mask >> CPUS for mask in scheduling.masks or ()):
            raise HypercallError(os.strerror(22), "setvcpuaffinity", errno=22)
        self._held(handle).scheduling = scheduling

    def unpause(self, handle: Handle) -> Unpaused:
        """Let the guest do what it does."""
        asked = time.perf_counter_ns()
        self._enter("unpause")
        domain = self._held(handle)
        domain.paused = False
        if not domain.started and domain.boot is not None:
            domain.started = True
            self._guests.run(domain)
        return Unpaused(asked, time.perf_counter_ns())

    def pause(self, handle: Handle) -> None:
        """Mark the domain paused."""
        self._enter("pause")
        self._held(handle).paused = True

    async def close_window(self, handle: Handle) -> None:
        """Forget the window."""
        await self._enter_slow("close_window")
        _held(handle).window = False

    async def release(self, handle: Handle) -> None:
        """Forget the handle."""
        await self._enter_slow("release")
        for event in (handle.console_event, handle.control_event):
            self._masked.pop(event, None)
            self._pending.pop(event, None)
            self._due.discard(event)
        domain = self.domains.get(handle.domid)
        if domain is not None and domain.handle is handle:
            domain.handle = None

    async def destroy(self, domid: int) -> None:
        """Destroy a domain."""
        await self._enter_slow("destroy")
        self.domains.pop(domid, None)

    async def list_domains(self) -> Sequence[DomainInfo]:
        """Return all domains."""
        await self._enter_slow("list_domains")
        return [describe(self.domains[domid]) for domid in sorted(self.domains)]

    async def find_changed(self, watched: Sequence[Watched]) -> Sequence[DomainInfo]:
        """Return those that are not as they should be."""
        await self._enter_slow("find_changed")
        changed = []
        for domid, uuid, paused in sorted(each.unpack() for each in watched):
            domain = self.domains.get(domid)
            if domain is None or domain.uuid != uuid:
                changed.append(gone(domid, uuid))
            elif domain.shutdown_code is not None or domain.paused is not paused:
                changed.append(describe(domain))
        return changed

    async def wait_events(self) -> None:
        """Wait until an event is pending."""
        await trio.lowlevel.checkpoint()
        while not self._pending:
            self._raised = trio.Event()
            await self._raised.wait()

    def take_events(self) -> Sequence[int]:
        """Return the pending events and mask them."""
        self._enter("take_events")
        taken = list(self._pending)
        self._pending.clear()
        with suppress(BlockingIOError):
            os.eventfd_read(self.events_fd)
        for event in taken:
            self._masked[event] = True
        return taken

    def unmask(self, event: int) -> None:
        """Let an event come again."""
        self._enter("unmask")
        if event not in self._masked:
            return  # of a domain that was released meanwhile
        self._masked[event] = False
        if event in self._due:
            self._due.discard(event)
            self._raise(event)

    def take_console(self, handle: Handle) -> bytes:
        """Return what the guest has written."""
        self._enter("take_console")
        domain = self._held(handle)
        if domain.corrupt:
            domain.corrupt = False
            raise HypercallError(os.strerror(71), "console ring", errno=71)
        if domain.flooding:
            domain.console += _FLOOD
        data = bytes(domain.console[:_RING_BYTES])
        del domain.console[:_RING_BYTES]
        if domain.flooding or domain.console:
            self._raise(handle.console_event)
        return data

    def put_console(self, handle: Handle, data: bytes) -> int:
        """Let a guest that echoes do so, and others leave what does not find room."""
        self._enter("put_console")
        return self._guests.hear(self._held(handle), data)

    def request_power(self, handle: Handle, request: int) -> None:
        """Let a guest that hears obey."""
        self._enter("request_power")
        self._guests.obey(self._held(handle), request)

    def read_control(self, handle: Handle) -> Control:
        """Return the control page."""
        self._enter("read_control")
        return self._held(handle).control

    def spin_control(self, handle: Handle, microseconds: int) -> int:
        """Say whether the guest is ready or exiting; fake guests need no time to get there."""
        self._enter("spin_control")
        domain = self._held(handle)
        heard = bool(domain.control.ready or domain.control.exiting)
        domain.watched = domain.watched and heard
        return time.perf_counter_ns() if heard else 0

    def issue(self, ticket: Ticket) -> object:
        """Return the ticket."""
        self._enter("issue")
        return ticket

    def close(self) -> None:
        """Note that the handles are closed."""
        self.closed = True
        self.forget_handles()

    # Guests

    def _held(self, handle: Handle) -> FakeDomain:
        domain = self.domains.get(handle.domid)
        if domain is None:
            raise HypercallError(os.strerror(3), "domain", errno=3)
        return domain

    def _raise(self, event: int) -> None:
        if self._masked.get(event):
            self._due.add(event)
        elif event in self._masked:
            self._pending[event] = None
            self._raised.set()
            os.eventfd_write(self.events_fd, 1)

    def _signal(self, domain: FakeDomain, *, console: bool) -> None:
        if domain.handle is not None:
            handle = domain.handle
            self._raise(handle.console_event if console else handle.control_event)

    def say(self, domid: int, text: bytes) -> None:
        """Make a guest write to its console."""
        self._guests.say(self.domains[domid], text)

    def end(self, domid: int, reason: ExitReason, status: int) -> None:
        """Make a guest report its end and stop."""
        self._guests.end(self.domains[domid], reason, status)


def _held(handle: Handle) -> FakeHandle:
    assert isinstance(handle, FakeHandle)
    return handle
