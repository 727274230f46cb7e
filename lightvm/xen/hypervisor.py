"""The seam between the daemon and Xen.

`Hypervisor` is all that the daemon knows of Xen. A plain method is *fast*: a memory access or one hypercall, called
inline. An ``async`` method is *slow*: it may take milliseconds and runs in a worker thread, so the event loop goes
on. A slow method is never abandoned: when its caller is cancelled it runs to its end and the result is returned, so
that a caller can undo it; the cancellation comes at the caller's next checkpoint.

Two classes implement it: `lightvm.xen.binding.XenHypervisor` and `lightvm.xen.fake.FakeHypervisor`; one suite in
``tests/contract`` holds for both.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from lightvm.model import Mode, Power
from lightvm.xen.domain_info import DomainInfo, Watched
from lightvm.xen.image import Image, Segment

if TYPE_CHECKING:
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

FIRST_WINDOW_KIB = 256
"""Window of the first shells of a flavor; pools widen it when larger images come (`lightvm.daemon.shells`)."""

LEAN_EVTCHNS, LEAN_GRANT_FRAMES = 63, 4
"""Highest event channel and grant frames of a guest that is made for this."""

UNMODIFIED_EVTCHNS, UNMODIFIED_GRANT_FRAMES = 1023, 64
"""The same of any other, as xl has it."""

_REQUESTS = {Power.POWEROFF: 1, Power.REBOOT: 2, Power.SUSPEND: 3}


def power_request(power: Power) -> int:
    """Return the word of a request (``docs/device-page.md``), which differs from that of any request before."""
    return (time.time_ns() >> 20) % (1 << 24) << 8 | _REQUESTS[power]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Version of Xen and of its control interfaces, as probed."""

    xen: str
    domctl: int
    sysctl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Memory of the host in KiB: all of it, what Xen can give out now, and what it is still scrubbing."""

    total_kib: int
    free_kib: int
    scrub_kib: int
    cpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a shell is made of.

    `window_kib` is the RAM from address 0 that stays mapped for the image copy; `pool_kib` the HAP pool, by which
    Xen pays for the domain's page tables. With `xenstore` the guest makes the rings of its devices by itself, and the
    shell has a connection to xenstored and ACPI tables instead; `readonly_vbds` then says which disks may only be read.
    """

    memory_kib: int
    vcpus: int
    window_kib: int
    pool_kib: int
    max_evtchn: int = LEAN_EVTCHNS
    max_grant_frames: int = LEAN_GRANT_FRAMES
    vifs: int = 0
    vbds: int = 0
    xenstore: bool = False
    readonly_vbds: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        memory_kib: int,
        vcpus: int,
        vifs: int = 0,
        vbds: int = 0,
        mode: Mode = Mode.NOXS,
    ) -> Shape:
        """Return the shape of a domain of that size, with a window and a HAP pool to suit.

        The pool holds the page tables. Xen 4.17 and 4.20 need 64 KiB for the top levels, the special pages and the
        first vCPU, 4 for each other vCPU, and 4 per 2 MiB of RAM where no superpage was to be had. What grows is
        doubled, and the rest is half as much again, since a guest that finds the pool empty cannot map a page.
        """
        xenstore = mode is Mode.XENSTORE
        return cls(
            memory_kib=memory_kib,
            vcpus=vcpus,
            window_kib=min(memory_kib, FIRST_WINDOW_KIB),
            pool_kib=96 + 8 * (vcpus - 1) + 4 * (memory_kib // 1024),
            max_evtchn=UNMODIFIED_EVTCHNS if xenstore else LEAN_EVTCHNS,
            max_grant_frames=UNMODIFIED_GRANT_FRAMES if xenstore else LEAN_GRANT_FRAMES,
            vifs=vifs,
            vbds=vbds,
            xenstore=xenstore,
        )


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What finish copies into a shell; `modules` are placed already (`lightvm.xen.image.place_modules`).

    `vifs` has one packed `VifConfig` per vif, one after the other; `vbds` likewise of `VbdConfig`.
    """

    image: Image
    cmdline: bytes = b""
    modules: tuple[Segment, ...] = ()
    name: bytes = b""
    metadata: bytes = b""
    vifs: bytes = b""
    vbds: bytes = b""


class Scheduling(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how much a domain's vCPUs may run; what is None stays as Xen has it.

    `masks` has one entry per vCPU, with a bit for each processor; `weight` is relative to other domains, `cap` in
    percent of one processor, 0 without limit.
    """

    masks: tuple[int, ...] | None = None
    weight: int | None = None
    cap: int | None = None


class Unpaused(NamedTuple):
    """When a domain was let run: before the hypercall and after it, in nanoseconds of `time.perf_counter_ns`."""

    asked: int
    running: int


class Control(msgspec.Struct, frozen=True):
    """What a guest has said in its control page (``docs/device-page.md``); nothing in it can be trusted."""

    ready: int
    exiting: int
    exit_reason: int
    exit_status: int
    heartbeat: int
    acknowledged: int = 0


class Handle(Protocol):
    """A domain that is held: mapped, with its event channels bound.

    `console_port` and `control_port` are the guest's port numbers, by which a later process adopts the domain, and
    `vif_ports`, `vbd_ports` and `store_port` those that back-ends and xenstored bind, unknown for an adopted one;
    `console_event` and `control_event` are ours, as `Hypervisor.take_events` reports them.
    """

    @property
    def domid(self) -> int:
        """Xen's number of the domain."""
        ...

    @property
    def console_port(self) -> int:
        """The guest's console port."""
        ...

    @property
    def control_port(self) -> int:
        """The guest's control port."""
        ...

    @property
    def vif_ports(self) -> tuple[int, ...]:
        """The guest's ports of its vifs."""
        ...

    @property
    def vbd_ports(self) -> tuple[int, ...]:
        """The guest's ports of its vbds."""
        ...

    @property
    def store_port(self) -> int:
        """The guest's port of its connection to xenstored; 0 where it has none."""
        ...

    @property
    def console_event(self) -> int:
        """Our end of the console's channel."""
        ...

    @property
    def control_event(self) -> int:
        """Our end of the control page's channel."""
        ...


class Hypervisor(Protocol):
    """All that the daemon asks of Xen.

    Every method raises `HypercallError` with the failed step in `where`; those that need memory, `OutOfMemory`.
    """

    @property
    def versions(self) -> Versions:
        """What was probed when the handle was opened."""
        ...

    @property
    def events_fd(self) -> int:
        """A file descriptor that is readable when `take_events` has something to return."""
        ...

    def host(self) -> Host:
        """Return the host's memory. Fast."""
        ...

    async def prepare(self, shape: Shape, uuid: bytes, *, cpupool: int = 0) -> Handle:
        """Make a shell: a paused domain with everything but its image, in a cpupool. All or nothing. Slow."""
        ...

    async def adopt(self, domid: int, console_port: int, control_port: int) -> Handle:
        """Take hold again of a domain that an earlier process prepared. Slow."""
        ...

    def load(self, handle: Handle, boot: Boot, *, watched: bool = False) -> int:
        """Copy image, modules and command line into a shell; return when that was done. Fast.

        The moment is in nanoseconds of `time.perf_counter_ns`. A shell that it fails on is spoilt. Where it is
        `watched`, `spin_control` must follow the unpause: until that gives up, ready needs no event.
        """
        ...

    def schedule(self, handle: Handle, scheduling: Scheduling) -> None:
        """Say where and how much the vCPUs may run. Fast: a hypercall for each of them, and two more."""
        ...

    def unpause(self, handle: Handle) -> Unpaused:
        """Let the vCPUs run; return when. Fast: the one hypercall of a pooled create."""
        ...

    def pause(self, handle: Handle) -> None:
        """Stop the vCPUs. Fast."""
        ...

    async def close_window(self, handle: Handle) -> None:
        """Unmap what only `load` needs. Slow. May be called again."""
        ...

    async def release(self, handle: Handle) -> None:
        """Unmap and unbind; the domain stays. Slow. The handle must not be used any more."""
        ...

    async def destroy(self, domid: int) -> None:
        """Destroy a domain; one that does not exist is no error. Slow. Release its handle first."""
        ...

    async def list_domains(self) -> Sequence[DomainInfo]:
        """Return all domains of the host but domain 0, in order of domid. Slow."""
        ...

    async def find_changed(self, watched: Sequence[Watched]) -> Sequence[DomainInfo]:
        """Of these return those that have ended, or that are paused otherwise, in order of domid. Slow."""
        ...

    async def wait_events(self) -> None:
        """Wait until an event is pending. One task at a time. Cancellable at any time."""
        ...

    def take_events(self) -> Sequence[int]:
        """Return some of the pending events, maybe none. Each stays masked until `unmask`. Fast."""
        ...

    def unmask(self, event: int) -> None:
        """Let an event come again. Call it before looking at what it announced. Fast."""
        ...

    def take_console(self, handle: Handle) -> bytes:
        """Move what the guest has written out of its console ring; at most 2048 bytes. Fast."""
        ...

    def put_console(self, handle: Handle, data: bytes) -> int:
        """Move bytes into the guest's console input, as many as there is room for; returns how many. Fast."""
        ...

    def request_power(self, handle: Handle, request: int) -> None:
        """Ask the guest for something (`power_request`). Fast."""
        ...

    def read_control(self, handle: Handle) -> Control:
        """Read the control page, each word once. Fast."""
        ...

    def spin_control(self, handle: Handle, microseconds: int) -> int:
        """Look at the control page until the guest is ready or exiting, at most that long.

        Return when it was heard of, in nanoseconds of `time.perf_counter_ns`; else 0, and its event will tell.
        Fast, as long as `microseconds` is small: the event loop stands still meanwhile.
        """
        ...

    def issue(self, ticket: Ticket) -> object:
        """Return a ticket in the form that `attend` takes. Fast; nothing happens to the shell."""
        ...

    def attend(self, desk: Desk) -> Attended:
        """Wait for one client, and begin its create where that is on offer.

        `answer` is to follow where that runs (`Stage.RUNNING`). Fast, as long as the desk's `seconds` are few: the
        event loop stands still meanwhile. What failed is in the result; raises `OSError` where the client's connection
        is broken.
        """
        ...

    def extend(self, desk: Desk, line: int, ticket: object) -> None:
        """Put one more ticket at the end of a line of the desk, before `answer`, up to the desk's `most` of them."""
        ...

    def answer(
        self, desk: Desk, attended: Attended, room: tuple[mmap.mmap, int] | None = None
    ) -> Answer:
        """Look at the guest of the create that was begun just now, and reply. Fast in the same sense as `attend`.

        Where that was a reply in time and in whole, to a client who is alone, and there is a ticket in that line, and
        `room` in a journal from some byte on, then its next call is waited for as by `attend`.
        """
        ...

    def serve(self, crowd: Crowd) -> list[Served]:
        """Begin the creates of all clients at rest that ask for what is on offer.

        They are begun one after the other, up to the first that fails; `answer_all` is to follow. Whoever says anything
        else is not read. Fast in the same sense as `attend`.
        """
        ...

    def answer_all(self, crowd: Crowd, served: Sequence[Served]) -> list[Answer]:
        """Look at the guests of the creates that were begun just now, and reply; of one that failed nothing is known.

        Returns as many as were served, in that order. Fast in the same sense as `attend`.
        """
        ...

    def carry_out(self, batch: Batch) -> list[Carried]:
        """Carry out several creates, up to the first that fails; their guests are looked at when all have begun.

        Returns what came of each that was begun, of none where the image is another file by now. Takes as long as it
        takes to load all; the event loop stands still meanwhile.
        """
        ...

    def close(self) -> None:
        """Close the handles. Domains stay."""
        ...
