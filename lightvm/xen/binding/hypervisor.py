"""The seam to Xen, through the native engine."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import trio

from lightvm.errors import UnsupportedXen
from lightvm.xen._native import ffi, lib
from lightvm.xen.binding import tickets
from lightvm.xen.binding.boots import Boots
from lightvm.xen.binding.crowd import NativeCrowd
from lightvm.xen.binding.failures import check, unsupported
from lightvm.xen.domain_info import DomainInfo, Watched
from lightvm.xen.express import (
    Answer,
    Attended,
    Batch,
    Carried,
    Crowd,
    Desk,
    Served,
    Ticket,
)
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
from lightvm.xen.image import DEVICE_PAGE_VERSION

T = TypeVar("T")

assert lib.LVM_DEVICE_VERSION == DEVICE_PAGE_VERSION, (
    "extension and package are of different releases"
)

assert ffi.sizeof("struct lvm_watched") == len(Watched(0, bytes(16)))

_EVENTS_AT_ONCE = 64
_MAX_DOMAINS = 0x7FF0


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
            raise unsupported(rc)
        self._xen = out[0]
        self._moments = lib.lvm_moments(self._xen)
        self._limiter = trio.CapacityLimiter(threads)
        self._ports = ffi.new("uint32_t[]", _EVENTS_AT_ONCE)
        self._console = ffi.new("uint8_t[]", lib.LVM_CONSOLE_OUT_SIZE)
        self._console_view = ffi.buffer(self._console)
        self._control = ffi.new("struct lvm_control *")
        self._desk = tickets.NativeDesk()
        self._crowd = NativeCrowd()
        self._boots = Boots()
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
        check(lib.lvm_get_host(self._xen, out))
        return out

    def host(self) -> Host:
        """Return the host's memory."""
        out = self._host()
        return Host(
            total_kib=out.total_kib, free_kib=out.free_kib, scrub_kib=out.scrub_kib, cpus=out.cpus
        )

    async def _slow(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function, limiter=self._limiter)

    async def prepare(self, shape: Shape, uuid: bytes, *, cpupool: int = 0) -> Handle:
        """Make a shell."""
        native = ffi.new("struct lvm_shape *")
        native.memory_kib = shape.memory_kib
        native.window_kib = shape.window_kib
        native.pool_kib = shape.pool_kib
        native.vcpus = shape.vcpus
        native.max_evtchn = shape.max_evtchn
        native.max_grant_frames = shape.max_grant_frames
        native.cpupool = cpupool
        vifs, vbds = (0, 0) if shape.xenstore else (shape.vifs, shape.vbds)
        native.nr_vifs = vifs
        native.nr_vbds = vbds
        native.xenstore = shape.xenstore
        ffi.memmove(native.uuid, uuid, 16)

        def call() -> XenHandle:
            out = ffi.new("struct lvm_domain **")
            check(lib.lvm_prepare(self._xen, native, out))
            return XenHandle(out[0], vifs, vbds)

        return await self._slow(call)

    async def adopt(self, domid: int, console_port: int, control_port: int) -> Handle:
        """Take hold again of a domain."""

        def call() -> XenHandle:
            out = ffi.new("struct lvm_domain **")
            check(lib.lvm_adopt(self._xen, domid, console_port, control_port, out))
            return XenHandle(out[0])

        return await self._slow(call)

    def load(self, handle: Handle, boot: Boot, *, watched: bool = False) -> int:
        """Copy the image into a shell; return when that was done."""
        described = self._boots.describe(boot, watched=watched)
        check(lib.lvm_load(_pointer(handle), described.native))
        return int(self._moments.loaded)

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
        check(lib.lvm_schedule(_pointer(handle), native))

    def unpause(self, handle: Handle) -> Unpaused:
        """Let the vCPUs run; return when."""
        check(lib.lvm_unpause(_pointer(handle)))
        return Unpaused(self._moments.asked, self._moments.running)

    def pause(self, handle: Handle) -> None:
        """Stop the vCPUs."""
        check(lib.lvm_pause(_pointer(handle)))

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
                check(rc)

        await self._slow(call)

    async def list_domains(self) -> Sequence[DomainInfo]:
        """Return all domains but domain 0."""

        def call() -> list[DomainInfo]:
            infos = ffi.new("struct lvm_domain_info[]", _MAX_DOMAINS)
            n = check(lib.lvm_list(self._xen, 1, infos, _MAX_DOMAINS))
            return [_describe(infos[i]) for i in range(n)]

        return await self._slow(call)

    async def find_changed(self, watched: Sequence[Watched]) -> Sequence[DomainInfo]:
        """Return those that are not as they should be."""
        if not watched:
            await trio.lowlevel.checkpoint()
            return []

        def call() -> list[DomainInfo]:
            native = ffi.from_buffer("struct lvm_watched[]", bytearray(b"".join(watched)))
            changed = ffi.new("struct lvm_domain_info[]", len(watched))
            n = check(lib.lvm_find_changed(self._xen, native, len(watched), changed))
            return [_describe(changed[i]) for i in range(n)]

        return await self._slow(call)

    async def wait_events(self) -> None:
        """Wait until an event is pending."""
        await trio.lowlevel.wait_readable(self.events_fd)

    def take_events(self) -> Sequence[int]:
        """Return some of the pending events."""
        n = check(lib.lvm_take_events(self._xen, self._ports, _EVENTS_AT_ONCE))
        return ffi.unpack(self._ports, n)  # type: ignore[no-any-return]  # a list of int

    def unmask(self, event: int) -> None:
        """Let an event come again."""
        check(lib.lvm_unmask(self._xen, event))

    def take_console(self, handle: Handle) -> bytes:
        """Move what the guest has written out of its console ring."""
        n = check(lib.lvm_console_take(_pointer(handle), self._console))
        return bytes(self._console_view[0:n])

    def put_console(self, handle: Handle, data: bytes) -> int:
        """Move bytes into the console input."""
        return check(lib.lvm_console_put(_pointer(handle), ffi.from_buffer(data), len(data)))

    def request_power(self, handle: Handle, request: int) -> None:
        """Ask the guest for something."""
        check(lib.lvm_control_request(_pointer(handle), request))

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
        described = self._boots.describe(ticket.boot, watched=True)
        return tickets.issue(ticket, _pointer(ticket.handle), described)

    def attend(self, desk: Desk) -> Attended:
        """Wait for one client, and begin its create where that is on offer."""
        return self._desk.attend(desk)

    def extend(self, desk: Desk, line: int, ticket: object) -> None:
        """Put one more ticket at the end of a line."""
        self._desk.extend(desk, line, ticket)

    def answer(
        self, desk: Desk, attended: Attended, room: tuple[mmap.mmap, int] | None = None
    ) -> Answer:
        """Look at the guest of a create that was begun, and reply; where there is room, wait for the next call."""
        return self._desk.answer(desk, attended, room)

    def serve(self, crowd: Crowd) -> list[Served]:
        """Begin the creates of all clients at rest that ask for what is on offer."""
        return self._crowd.serve(crowd)

    def answer_all(self, crowd: Crowd, served: Sequence[Served]) -> list[Answer]:
        """Look at the guests of the creates that were begun, and reply to those that are ready."""
        return self._crowd.answer_all(crowd, served)

    def carry_out(self, batch: Batch) -> list[Carried]:
        """Carry out several creates, up to the first that fails."""
        return tickets.carry_out(batch)

    def close(self) -> None:
        """Close the handles."""
        lib.lvm_close(self._xen)
        self._xen = ffi.NULL


def _pointer(handle: Handle) -> Any:
    return cast("XenHandle", handle).pointer


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
