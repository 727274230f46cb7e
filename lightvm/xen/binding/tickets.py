"""Creates that are ready but for somebody who asks for them, as the engine has them (``native/src/express.c``)."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from lightvm.xen._native import ffi, lib
from lightvm.xen.binding.boots import DescribedBoot
from lightvm.xen.binding.failures import failure
from lightvm.xen.express import (
    BLANKS,
    MOST_LINES,
    Answer,
    Attended,
    Batch,
    Carried,
    Desk,
    Form,
    Series,
    Stage,
    Ticket,
)

_HEARD_BYTES = 65536

# An attribute of a struct of C's costs as much as a small call: results are read all at once, and what seldom changes
# is written when it does.
_RESULTS = struct.Struct("@IiIIiIi")
"""`struct lvm_desk` from `alone` on: that, received, number, ticket, sent, late, next."""

_OUTCOME = struct.Struct("@iiII5q")
"""`struct lvm_outcome`."""

assert MOST_LINES == lib.LVM_LINES
assert _OUTCOME.size == ffi.sizeof("struct lvm_outcome")
assert ffi.offsetof("struct lvm_desk", "next") + ffi.sizeof("int32_t") == (
    ffi.offsetof("struct lvm_desk", "alone") + _RESULTS.size
)

_STAGES = tuple(Stage)


class Issued(NamedTuple):
    """A ticket of the engine, and what it points into."""

    native: Any
    alive: list[Any]
    reply: bytes
    """Its form."""

    def unsent(self, sent: int) -> bytes:
        """Return what of the reply is still to be sent, of which so many bytes were, or none for a reason of C's."""
        if sent == len(self.reply) or (sent < 0 and sent != -errno.EAGAIN):
            return b""
        reply = self.native.reply
        return bytes(ffi.buffer(reply.data, reply.size))[max(sent, 0) :]


class NativeDesk:
    """`struct lvm_desk`, and what it points into."""

    def __init__(self) -> None:
        self._native = native = ffi.new("struct lvm_desk *")
        self._heard = heard = ffi.new("uint8_t[]", _HEARD_BYTES)
        self._heard_view = ffi.buffer(heard)
        native.buffer, native.buffer_size = heard, _HEARD_BYTES
        self._results = ffi.buffer(ffi.addressof(native, "alone"), _RESULTS.size)
        self._outcome = ffi.buffer(ffi.addressof(native, "outcome"))
        self._answered = ffi.buffer(ffi.addressof(native, "answered"))
        self._settings: tuple[object, ...] = ()
        self._alive: list[Any] = []

    def attend(self, desk: Desk) -> Attended:
        """Wait for one client, and begin its create where that is on offer."""
        native = self._native
        settings = (desk.epoll, desk.peer, desk.seconds, desk.spin_us, desk.offset_ns)
        if settings != self._settings:
            self._settings = settings
            native.epoll, native.client = desk.epoll.fileno(), desk.peer.fileno()
            native.wait_ms = -int(-1000 * desk.seconds // 1)
            native.spin_us, native.offset_ns = desk.spin_us, desk.offset_ns
        native.series, self._alive = describe_series(desk.series, desk.most)
        native.nr_series = len(desk.series)
        journal = ffi.from_buffer("uint8_t[]", desk.journal)
        native.journal = journal + desk.end
        stage = lib.lvm_attend(native)
        ffi.release(journal)
        return self._describe(stage, _RESULTS.unpack(self._results))

    def extend(self, desk: Desk, line: int, ticket: object) -> None:
        """Put one more ticket at the end of a line."""
        slots, arrays = self._alive[0], self._alive[2::2]
        for slot, tickets, one in zip(slots, arrays, desk.series, strict=True):
            if one.line == line:
                end = slot.nr
                tickets[end] = cast("Issued", ticket).native
                slot.nr = end + 1
                if len(one.tickets) == end:  # calls with one line may have one list, too
                    one.tickets.append(ticket)

    def answer(
        self, desk: Desk, attended: Attended, room: tuple[mmap.mmap, int] | None = None
    ) -> Answer:
        """Look at the guest of a create that was begun, and reply; where there is room, wait for the next call."""
        native = self._native
        if room is None:
            native.journal = ffi.NULL
            lib.lvm_answer(native)
        else:
            journal = ffi.from_buffer("uint8_t[]", room[0])
            native.journal = journal + room[1]
            lib.lvm_answer(native)
            ffi.release(journal)
        results = _RESULTS.unpack(self._results)
        *_, sent, late, stage = results
        issued: Any = desk.series[attended.number].tickets[attended.ticket]
        following = None if stage < 0 else self._describe(stage, results)
        values = _OUTCOME.unpack(self._answered)
        return describe_answer(values, issued, sent, late=late != 0, following=following)

    def _describe(self, number: int, results: tuple[int, ...]) -> Attended:
        stage = _STAGES[number]
        alone, received, series, ticket, *_ = results
        if stage <= Stage.OTHERS:
            return Attended(stage=stage, alone=stage is Stage.NOBODY)
        if received < 0:
            return Attended(stage=Stage.SAID, alone=alone != 0, data=b"")
        data = None if stage is Stage.RUNNING else bytes(self._heard_view[0:received])
        if stage is Stage.SAID:
            return Attended(stage=stage, alone=alone != 0, data=data)
        outcome = describe_outcome(_OUTCOME.unpack(self._outcome))
        return Attended(alone=alone != 0, data=data, number=series, ticket=ticket, **outcome)


def describe_series(series: Sequence[Series], most: int = 0) -> tuple[Any, list[Any]]:
    """Describe series to the engine, with room for so many tickets in each line at least.

    Returns what has to live as long, too: the series, and after that each call and its tickets.
    """
    native = ffi.new("struct lvm_series[]", len(series))
    alive = [native]
    for slot, one in zip(native, series, strict=True):
        call = ffi.from_buffer("uint8_t[]", one.call)
        issued = [cast("Issued", ticket).native for ticket in one.tickets]
        tickets = ffi.new("struct lvm_ticket *[]", max(len(issued), most))
        tickets[0 : len(issued)] = issued
        slot.call, slot.size = call, len(call)
        slot.tickets, slot.nr, slot.line = tickets, len(issued), one.line
        alive += [call, tickets]
    return native, alive


def describe_outcome(values: Sequence[int]) -> dict[str, Any]:
    """Return the fields of an `Outcome`, of those of `struct lvm_outcome`."""
    number, error, journalled, _, begun, loaded, asked, running, _ = values
    stage = _STAGES[number]
    return {
        "stage": stage,
        "journalled": journalled,
        "error": failure(error) if stage is Stage.SPOILT else None,
        "begun": begun,
        "loaded": loaded,
        "asked": asked,
        "running": running,
    }


def describe_answer(
    values: Sequence[int],
    issued: Issued,
    sent: int,
    *,
    late: bool = False,
    following: Attended | None = None,
) -> Answer:
    """Return what came of a look at a guest, of the fields of `struct lvm_outcome`."""
    number, _, _, exiting, *_, heard = values
    if number != lib.LVM_ANSWERED:
        return Answer(ready=False, heard=heard)
    return Answer(
        ready=True,
        exiting=exiting != 0,
        heard=heard,
        unsent=issued.unsent(sent),
        late=late,
        next=following,
    )


def issue(ticket: Ticket, domain: Any, boot: DescribedBoot) -> object:
    """Describe a ticket to the engine, for a domain and a boot that are described already."""
    native = ffi.new("struct lvm_ticket *")
    native.domain, native.boot = domain, boot.native[0]
    path = ffi.new("char[]", os.fsencode(ticket.path))
    native.path = path
    native.device, native.inode, native.size, native.modified_ns = ticket.identity
    forms = [_fill_form(native.record, ticket.record), _fill_form(native.reply, ticket.reply)]
    return Issued(native, [ticket, boot, path, *forms], ticket.reply.data)


def carry_out(batch: Batch) -> list[Carried]:
    """Carry out several creates, up to the first that fails."""
    issued = [cast("Issued", ticket) for ticket in batch.tickets]
    tickets = ffi.new("struct lvm_ticket *[]", [each.native for each in issued])
    outcomes = ffi.new("struct lvm_outcome[]", len(issued))
    native = ffi.new("struct lvm_batch *")
    native.tickets, native.outcomes, native.nr = tickets, outcomes, len(issued)
    native.spin_us, native.offset_ns = batch.spin_us, batch.offset_ns
    journal = ffi.from_buffer("uint8_t[]", batch.journal)
    native.journal = journal + batch.end
    begun = lib.lvm_begin_batch(native)
    ffi.release(journal)
    if batch.tell is None or begun < len(issued):
        lib.lvm_end_batch(native)
    else:
        joined, begins = batch.join([each.reply for each in issued])
        places = ffi.new("uint32_t[]", begins)
        native.joined, native.places = ffi.from_buffer("uint8_t[]", joined), places
        if 0 < lib.lvm_end_batch(native) == begun:
            batch.tell(bytes(joined))
    view = ffi.buffer(outcomes)[: begun * _OUTCOME.size]
    return [_describe_carried(values) for values in _OUTCOME.iter_unpack(view)]


def _describe_carried(values: tuple[int, ...]) -> Carried:
    _, _, _, exiting, *_, heard = values
    return Carried(exiting=exiting != 0, heard=heard, **describe_outcome(values))


def _fill_form(native: Any, form: Form) -> Any:
    """Describe a form to the engine; returns the bytes that have to live as long."""
    native.data = data = ffi.new("uint8_t[]", form.data)
    native.size = len(form.data)
    for blank in BLANKS:
        setattr(native, blank, getattr(form, blank))
    return data
