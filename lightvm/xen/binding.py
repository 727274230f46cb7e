"""The real Xen: the only module that imports the native extension, and so the only one with `Any` in it."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast
from weakref import WeakKeyDictionary

import trio

from lightvm.errors import HostError, HypercallError, LightVMError, OutOfMemory, UnsupportedXen
from lightvm.xen._native import ffi, lib
from lightvm.xen.device_page import VBD_CONFIG, VIF_CONFIG
from lightvm.xen.express import BLANKS, Attended, Batch, Carried, Desk, Form, Offer, Stage, Ticket
from lightvm.xen.hypervisor import (
    Boot,
    Control,
    DomainInfo,
    Handle,
    Host,
    Scheduling,
    Shape,
    Unpaused,
    Versions,
    Watched,
)
from lightvm.xen.image import DEVICE_PAGE_VERSION, Image

T = TypeVar("T")

assert lib.LVM_DEVICE_VERSION == DEVICE_PAGE_VERSION, (
    "extension and package are of different releases"
)

_EVENTS_AT_ONCE = 64
_MOST_OFFERS = 8
_HEARD_BYTES = 65536
_MAX_DOMAINS = 0x7FF0

# An attribute of a struct of C's costs as much as a small call: results are read all at once, and what seldom changes
# is written when it does.
_RESULTS = struct.Struct("@IIiIi")
"""`struct lvm_desk` from `client_here` on: that, alone, received, taken, sent."""

_OUTCOME = struct.Struct("@iiI5q")
"""`struct lvm_outcome`."""

assert _OUTCOME.size == ffi.sizeof("struct lvm_outcome")

_STAGES = tuple(Stage)


class XenHandle:
    """A held domain."""

    __slots__ = (
        "console_event",
        "console_port",
        "control_event",
        "control_port",
        "domid",
        "pointer",
        "store_port",
        "vbd_ports",
        "vif_ports",
    )

    def __init__(self, pointer: Any, vifs: int = 0, vbds: int = 0) -> None:
        self.pointer = pointer
        self.vif_ports: tuple[int, ...] = tuple(lib.lvm_vif_port(pointer, i) for i in range(vifs))
        self.vbd_ports: tuple[int, ...] = tuple(lib.lvm_vbd_port(pointer, i) for i in range(vbds))
        self.store_port: int = lib.lvm_store_port(pointer)
        self.domid: int = lib.lvm_domid(pointer)
        self.console_port: int = lib.lvm_console_port(pointer)
        self.control_port: int = lib.lvm_control_port(pointer)
        self.console_event: int = lib.lvm_console_local(pointer)
        self.control_event: int = lib.lvm_control_local(pointer)


class _Issued(NamedTuple):
    """A ticket of the engine, and what it points into."""

    native: Any
    alive: list[Any]
    reply_bytes: int

    def unsent(self, sent: int) -> bytes:
        """Return what of the reply is still to be sent, of which so many bytes were, or none for a reason of C's."""
        if sent == self.reply_bytes or (sent < 0 and sent != -errno.EAGAIN):
            return b""
        reply = self.native.reply
        return bytes(ffi.buffer(reply.data, reply.size))[max(sent, 0) :]


class _NativeDesk:
    """`struct lvm_desk`, and what it points into."""

    def __init__(self) -> None:
        self._native = native = ffi.new("struct lvm_desk *")
        self._offers = offers = ffi.new("struct lvm_offer[]", _MOST_OFFERS)
        self._slots = [ffi.addressof(offers, index) for index in range(_MOST_OFFERS)]
        self._calls: list[tuple[bytes, Any]] = [(b"", None)] * _MOST_OFFERS
        self._heard = heard = ffi.new("uint8_t[]", _HEARD_BYTES)
        self._heard_view = ffi.buffer(heard)
        native.offers = offers
        native.buffer, native.buffer_size = heard, _HEARD_BYTES
        self._results = ffi.buffer(ffi.addressof(native, "client_here"), _RESULTS.size)
        self._outcome = ffi.buffer(ffi.addressof(native, "outcome"))
        self._settings: tuple[object, ...] = ()

    def attend(self, desk: Desk) -> Attended:
        """Wait for one client, and carry out its create where that is on offer."""
        native = self._native
        settings = (desk.epoll, desk.peer, desk.seconds, desk.spin_us, desk.offset_ns)
        if settings != self._settings:
            self._settings = settings
            native.epoll, native.client = desk.epoll.fileno(), desk.peer.fileno()
            native.wait_ms = -int(-1000 * desk.seconds // 1)
            native.spin_us, native.offset_ns = desk.spin_us, desk.offset_ns
        self._put_on_offer(desk.offers)
        journal = ffi.from_buffer("uint8_t[]", desk.journal)
        native.journal = journal + desk.end
        stage = _STAGES[lib.lvm_attend(native)]
        ffi.release(journal)
        if stage <= Stage.OTHERS:
            return Attended(stage=stage, alone=stage is Stage.NOBODY)
        return self._describe(stage, desk)

    def _put_on_offer(self, offers: Sequence[Offer]) -> None:
        calls, count = self._calls, 0
        for slot, offer in zip(self._slots, offers, strict=False):
            if offer.call is not calls[count][0]:
                call = ffi.from_buffer("uint8_t[]", offer.call)
                calls[count] = offer.call, call
                slot.call, slot.size = call, len(call)
            issued: Any = offer.ticket
            slot.ticket = issued.native
            count += 1
        self._native.nr_offers = count

    def _describe(self, stage: Stage, desk: Desk) -> Attended:
        _, alone, received, taken, sent = _RESULTS.unpack(self._results)
        if received == -errno.EAGAIN:
            return Attended(stage=Stage.NOBODY, alone=alone != 0)
        if received < 0:
            raise OSError(-received, os.strerror(-received))
        if stage is Stage.SAID:
            return Attended(stage=stage, alone=alone != 0, data=bytes(self._heard_view[0:received]))
        _, error, journalled, begun, loaded, asked, running, heard = _OUTCOME.unpack(self._outcome)
        unsent, data = b"", None
        if stage is Stage.ANSWERED:
            issued: Any = desk.offers[taken].ticket
            unsent = issued.unsent(sent)
        elif stage is Stage.SPOILT:
            data = bytes(self._heard_view[0:received])
        return Attended(
            stage=stage,
            alone=alone != 0,
            data=data,
            taken=taken,
            unsent=unsent,
            journalled=journalled,
            error=_error(error) if stage is Stage.SPOILT else None,
            begun=begun,
            loaded=loaded,
            asked=asked,
            running=running,
            heard=heard,
        )


class XenHypervisor:
    """Xen through the native engine; see `lightvm.xen.hypervisor.Hypervisor` for the contract."""

    def __init__(self, *, threads: int = 4) -> None:
        """Open the handles and probe the interface versions.

        Raises `UnsupportedXen` where there is no Xen, no hardware assisted paging, or an interface version that
        this release does not know. At most `threads` slow calls run at once.
        """
        out = ffi.new("struct lvm_xen **")
        rc = lib.lvm_open(out)
        if rc < 0:
            raise _unsupported(rc)
        self._xen = out[0]
        self._moments = lib.lvm_moments(self._xen)
        self._limiter = trio.CapacityLimiter(threads)
        self._ports = ffi.new("uint32_t[]", _EVENTS_AT_ONCE)
        self._console = ffi.new("uint8_t[]", lib.LVM_CONSOLE_OUT_SIZE)
        self._console_view = ffi.buffer(self._console)
        self._control = ffi.new("struct lvm_control *")
        self._desk = _NativeDesk()
        # An image is described to the engine once, not once per create.
        self._boots: WeakKeyDictionary[Image, tuple[Any, list[Any]]] = WeakKeyDictionary()
        self.events_fd: int = lib.lvm_events_fd(self._xen)
        host = self._host()
        if not host.hap:
            self.close()
            raise UnsupportedXen("Xen says that this machine has no hardware assisted paging (HAP)")

    @property
    def versions(self) -> Versions:
        """What was probed when the handle was opened."""
        out = ffi.new("struct lvm_versions *")
        lib.lvm_get_versions(self._xen, out)
        extra = ffi.string(out.xen_extra).decode("ascii", "replace")
        return Versions(
            xen=f"{out.xen_major}.{out.xen_minor}{extra}", domctl=out.domctl, sysctl=out.sysctl
        )

    def _host(self) -> Any:
        out = ffi.new("struct lvm_host *")
        _check(lib.lvm_get_host(self._xen, out))
        return out

    def host(self) -> Host:
        """Return the host's memory."""
        out = self._host()
        return Host(
            total_kib=out.total_kib, free_kib=out.free_kib, scrub_kib=out.scrub_kib, cpus=out.cpus
        )

    async def _slow(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function, limiter=self._limiter)

    async def prepare(self, shape: Shape, uuid: bytes) -> Handle:
        """Make a shell."""
        native = ffi.new("struct lvm_shape *")
        native.memory_kib = shape.memory_kib
        native.window_kib = shape.window_kib
        native.pool_kib = shape.pool_kib
        native.vcpus = shape.vcpus
        native.max_evtchn = shape.max_evtchn
        native.max_grant_frames = shape.max_grant_frames
        vifs, vbds = (0, 0) if shape.xenstore else (shape.vifs, shape.vbds)
        native.nr_vifs = vifs
        native.nr_vbds = vbds
        native.xenstore = shape.xenstore
        ffi.memmove(native.uuid, uuid, 16)

        def call() -> XenHandle:
            out = ffi.new("struct lvm_domain **")
            _check(lib.lvm_prepare(self._xen, native, out))
            return XenHandle(out[0], vifs, vbds)

        return await self._slow(call)

    async def adopt(self, domid: int, console_port: int, control_port: int) -> Handle:
        """Take hold again of a domain."""

        def call() -> XenHandle:
            out = ffi.new("struct lvm_domain **")
            _check(lib.lvm_adopt(self._xen, domid, console_port, control_port, out))
            return XenHandle(out[0])

        return await self._slow(call)

    def load(self, handle: Handle, boot: Boot, *, watched: bool = False) -> int:
        """Copy the image into a shell; return when that was done."""
        _check(lib.lvm_load(_pointer(handle), self._fill_boot(boot, watched=watched)))
        return int(self._moments.loaded)

    def _fill_boot(self, boot: Boot, *, watched: bool) -> Any:
        """Return the engine's description of a boot; it is the image's, and good until the next boot of that."""
        made = None if boot.modules else self._boots.get(boot.image)
        if made is None:
            made = _describe_boot(boot)
            if not boot.modules:
                self._boots[boot.image] = made
        native = made[0]
        native.cmdline = ffi.from_buffer(boot.cmdline)
        native.cmdline_len = len(boot.cmdline)
        native.watched = watched
        native.name = ffi.from_buffer(boot.name)
        native.name_len = len(boot.name)
        native.metadata_len = len(boot.metadata)
        if boot.metadata:
            native.metadata = ffi.from_buffer("uint8_t[]", boot.metadata)
        native.nr_vifs = len(boot.vifs) // VIF_CONFIG.size
        if boot.vifs:
            native.vifs = ffi.from_buffer("struct lvm_vif_config[]", boot.vifs)
        native.nr_vbds = len(boot.vbds) // VBD_CONFIG.size
        if boot.vbds:
            native.vbds = ffi.from_buffer("struct lvm_vbd_config[]", boot.vbds)
        return native

    def schedule(self, handle: Handle, scheduling: Scheduling) -> None:
        """Say where and how much the vCPUs may run."""
        native = ffi.new("struct lvm_scheduling *")
        masks = scheduling.masks or ()
        size = max((mask.bit_length() + 7) // 8 for mask in masks) if masks else 0
        bitmaps = b"".join(mask.to_bytes(size, "little") for mask in masks)
        native.bitmaps = ffi.from_buffer("uint8_t[]", bitmaps)
        native.bitmap_bytes = size
        native.nr_vcpus = len(masks)
        native.weight = scheduling.weight or 0
        native.cap = lib.LVM_CAP_AS_IS if scheduling.cap is None else scheduling.cap
        _check(lib.lvm_schedule(_pointer(handle), native))

    def unpause(self, handle: Handle) -> Unpaused:
        """Let the vCPUs run; return when."""
        _check(lib.lvm_unpause(_pointer(handle)))
        return Unpaused(self._moments.asked, self._moments.running)

    def pause(self, handle: Handle) -> None:
        """Stop the vCPUs."""
        _check(lib.lvm_pause(_pointer(handle)))

    async def close_window(self, handle: Handle) -> None:
        """Unmap the image window."""
        await self._slow(lambda: lib.lvm_close_window(_pointer(handle)))

    async def release(self, handle: Handle) -> None:
        """Unmap and unbind."""
        await self._slow(lambda: lib.lvm_release(_pointer(handle)))

    async def destroy(self, domid: int) -> None:
        """Destroy a domain."""

        def call() -> None:
            rc = lib.lvm_destroy(self._xen, domid)
            if rc != -errno.ESRCH:
                _check(rc)

        await self._slow(call)

    async def list_domains(self) -> Sequence[DomainInfo]:
        """Return all domains but domain 0."""

        def call() -> list[DomainInfo]:
            infos = ffi.new("struct lvm_domain_info[]", _MAX_DOMAINS)
            n = _check(lib.lvm_list(self._xen, 1, infos, _MAX_DOMAINS))
            return [_describe(infos[i]) for i in range(n)]

        return await self._slow(call)

    async def find_changed(self, watched: Sequence[Watched]) -> Sequence[DomainInfo]:
        """Return those that are not as they should be."""
        if not watched:
            await trio.lowlevel.checkpoint()
            return []

        def call() -> list[DomainInfo]:
            native = ffi.new("struct lvm_domain_info[]", len(watched))
            for entry, one in zip(native, watched, strict=True):
                entry.domid = one.domid
                entry.uuid = one.uuid
                entry.flags = lib.LVM_DOMAIN_PAUSED if one.paused else 0
            changed = ffi.new("struct lvm_domain_info[]", len(watched))
            n = _check(lib.lvm_find_changed(self._xen, native, len(watched), changed))
            return [_describe(changed[i]) for i in range(n)]

        return await self._slow(call)

    async def wait_events(self) -> None:
        """Wait until an event is pending."""
        await trio.lowlevel.wait_readable(self.events_fd)

    def take_events(self) -> Sequence[int]:
        """Return some of the pending events."""
        n = _check(lib.lvm_take_events(self._xen, self._ports, _EVENTS_AT_ONCE))
        return ffi.unpack(self._ports, n)  # type: ignore[no-any-return]  # a list of int

    def unmask(self, event: int) -> None:
        """Let an event come again."""
        _check(lib.lvm_unmask(self._xen, event))

    def take_console(self, handle: Handle) -> bytes:
        """Move what the guest has written out of its console ring."""
        n = _check(lib.lvm_console_take(_pointer(handle), self._console))
        return bytes(self._console_view[0:n])

    def put_console(self, handle: Handle, data: bytes) -> int:
        """Move bytes into the console input."""
        return _check(lib.lvm_console_put(_pointer(handle), ffi.from_buffer(data), len(data)))

    def request_power(self, handle: Handle, request: int) -> None:
        """Ask the guest for something."""
        _check(lib.lvm_control_request(_pointer(handle), request))

    def read_control(self, handle: Handle) -> Control:
        """Read the control page."""
        out = self._control
        lib.lvm_control_read(_pointer(handle), out)
        return Control(
            out.ready,
            out.exiting,
            out.exit_reason,
            out.exit_status,
            out.heartbeat,
            out.acknowledged,
        )

    def spin_control(self, handle: Handle, microseconds: int) -> int:
        """Look at the control page for a moment; return when the guest was heard of, or 0."""
        return lib.lvm_control_spin(_pointer(handle), microseconds) and int(self._moments.heard)

    def issue(self, ticket: Ticket) -> object:
        """Describe a ticket to the engine."""
        native = ffi.new("struct lvm_ticket *")
        native.domain = _pointer(ticket.handle)
        native.boot = self._fill_boot(ticket.boot, watched=True)[0]
        path = ffi.new("char[]", os.fsencode(ticket.path))
        native.path = path
        native.device, native.inode, native.size, native.modified_ns = ticket.identity
        forms = [
            _fill_form(native.record, ticket.record),
            _fill_form(native.reply, ticket.reply),
        ]
        alive = [ticket, self._boots[ticket.boot.image], path, *forms]
        return _Issued(native, alive, len(ticket.reply.data))

    def attend(self, desk: Desk) -> Attended:
        """Wait for one client, and carry out its create where that is on offer."""
        return self._desk.attend(desk)

    def carry_out(self, batch: Batch) -> list[Carried]:
        """Carry out several creates, up to the first that fails."""
        issued = [cast("_Issued", ticket).native for ticket in batch.tickets]
        tickets = ffi.new("struct lvm_ticket *[]", issued)
        outcomes = ffi.new("struct lvm_outcome[]", len(issued))
        native = ffi.new("struct lvm_batch *")
        native.tickets, native.outcomes, native.nr = tickets, outcomes, len(issued)
        native.spin_us, native.offset_ns = batch.spin_us, batch.offset_ns
        journal = ffi.from_buffer("uint8_t[]", batch.journal)
        native.journal = journal + batch.end
        begun = lib.lvm_carry_out(native)
        ffi.release(journal)
        view = ffi.buffer(outcomes)
        return [
            _describe_carried(ticket, _OUTCOME.unpack_from(view, index * _OUTCOME.size))
            for index, ticket in enumerate(issued[:begun])
        ]

    def close(self) -> None:
        """Close the handles."""
        lib.lvm_close(self._xen)
        self._xen = ffi.NULL


def _pointer(handle: Handle) -> Any:
    return cast("XenHandle", handle).pointer


def _describe_boot(boot: Boot) -> tuple[Any, list[Any]]:
    """Return the engine's description of a boot, and what it points into."""
    segments = (*boot.image.segments, *boot.modules)
    array = ffi.new("struct lvm_segment[]", len(segments))
    alive: list[Any] = [array]
    for entry, segment in zip(array, segments, strict=True):
        data = ffi.from_buffer(segment.data)
        alive.append(data)
        entry.paddr = segment.paddr
        entry.memsz = segment.memsz
        entry.filesz = len(segment.data)
        entry.data = ffi.cast("const uint8_t *", data)
    native = ffi.new("struct lvm_boot *")
    native.entry = boot.image.entry
    native.nr_segments = len(segments)
    native.nr_modules = len(boot.modules)
    native.segments = array
    native.announce_device_page = boot.image.device_page
    return native, alive


def _describe(info: Any) -> DomainInfo:
    return DomainInfo(
        domid=info.domid,
        uuid=bytes(info.uuid),
        memory_kib=info.memory_kib,
        vcpus=info.vcpus,
        cpu_ns=info.cpu_ns,
        paused=bool(info.flags & lib.LVM_DOMAIN_PAUSED),
        dying=bool(info.flags & lib.LVM_DOMAIN_DYING),
        shutdown=bool(info.flags & lib.LVM_DOMAIN_SHUTDOWN),
        shutdown_code=info.shutdown_code,
        gone=info.shutdown_code == lib.LVM_CODE_GONE,
    )


def _describe_carried(ticket: Any, values: tuple[int, ...]) -> Carried:
    number, error, journalled, begun, loaded, asked, running, heard = values
    stage = _STAGES[number]
    reply = b""
    if stage is Stage.ANSWERED:
        reply = bytes(ffi.buffer(ticket.reply.data, ticket.reply.size))
    return Carried(
        stage=stage,
        journalled=journalled,
        error=_error(error) if stage is Stage.SPOILT else None,
        begun=begun,
        loaded=loaded,
        asked=asked,
        running=running,
        heard=heard,
        reply=reply,
    )


def _fill_form(native: Any, form: Form) -> Any:
    """Describe a form to the engine; returns the bytes that have to live as long."""
    native.data = data = ffi.new("uint8_t[]", form.data)
    native.size = len(form.data)
    for blank in BLANKS:
        setattr(native, blank, getattr(form, blank))
    return data


def _check(rc: int) -> int:
    if rc >= 0:
        return rc
    raise _error(rc)


def _error(rc: int) -> LightVMError:
    step = ffi.string(lib.lvm_failed_step()).decode()
    if rc == -errno.ENOMEM:
        return OutOfMemory("Xen has no memory left for this", step)
    return HypercallError(os.strerror(-rc), step, errno=-rc)


def _unsupported(rc: int) -> HostError:
    step = ffi.string(lib.lvm_failed_step()).decode()
    if rc == -errno.EPROTONOSUPPORT:
        return UnsupportedXen(
            "this Xen has an interface version that this release does not know", step
        )
    if rc in (-errno.ENOSYS, -errno.EPERM, -errno.EACCES, -errno.ENOENT):
        return UnsupportedXen("no Xen here, or not a control domain, or not root", step)
    return HypercallError(os.strerror(-rc), step, errno=-rc)
