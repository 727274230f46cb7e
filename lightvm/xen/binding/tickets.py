"""Creates that are ready but for somebody who asks for them, as the engine has them (``native/src/express.c``)."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from lightvm.xen._native import ffi, lib
from lightvm.xen.binding.failures import failure
from lightvm.xen.express import (
    BLANKS,
    Answer,
    Attended,
    Batch,
    Carried,
    Desk,
    Form,
    Offer,
    Stage,
    Ticket,
)

_MOST_OFFERS = 8
_HEARD_BYTES = 65536

# An attribute of a struct of C's costs as much as a small call: results are read all at once, and what seldom changes
# is written when it does.
_RESULTS = struct.Struct("@IIiIiI")
"""`struct lvm_desk` from `client_here` on: that, alone, received, taken, sent, late."""

_OUTCOME = struct.Struct("@iiII5q")
"""`struct lvm_outcome`."""

assert _OUTCOME.size == ffi.sizeof("struct lvm_outcome")
assert ffi.offsetof("struct lvm_desk", "late") + ffi.sizeof("uint32_t") == (
    ffi.offsetof("struct lvm_desk", "client_here") + _RESULTS.size
)

_STAGES = tuple(Stage)


class Issued(NamedTuple):
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


class NativeDesk:
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
        """Wait for one client, and begin its create where that is on offer."""
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
        return self._describe(stage)

    def answer(self, desk: Desk, attended: Attended) -> Answer:
        """Look at the guest of a create that was begun, and reply."""
        lib.lvm_answer(self._native)
        *_, sent, late = _RESULTS.unpack(self._results)
        issued: Any = desk.offers[attended.taken].ticket
        return describe_answer(_OUTCOME.unpack(self._outcome), issued, sent, late=late != 0)

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

    def _describe(self, stage: Stage) -> Attended:
        _, alone, received, taken, _, _ = _RESULTS.unpack(self._results)
        if received == -errno.EAGAIN:
            return Attended(stage=Stage.NOBODY, alone=alone != 0)
        if received < 0:
            raise OSError(-received, os.strerror(-received))
        data = None if stage is Stage.RUNNING else bytes(self._heard_view[0:received])
        if stage is Stage.SAID:
            return Attended(stage=stage, alone=alone != 0, data=data)
        outcome = describe_outcome(_OUTCOME.unpack(self._outcome))
        return Attended(alone=alone != 0, data=data, taken=taken, **outcome)


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
    values: Sequence[int], issued: Issued, sent: int, *, late: bool = False
) -> Answer:
    """Return what came of a look at a guest, of the fields of `struct lvm_outcome`."""
    number, _, _, exiting, *_, heard = values
    if number != lib.LVM_ANSWERED:
        return Answer(ready=False, heard=heard)
    return Answer(
        ready=True, exiting=exiting != 0, heard=heard, unsent=issued.unsent(sent), late=late
    )


def issue(ticket: Ticket, domain: Any, boot: Any, alive: Any) -> object:
    """Describe a ticket to the engine, for a domain and a boot that are described already."""
    native = ffi.new("struct lvm_ticket *")
    native.domain, native.boot = domain, boot
    path = ffi.new("char[]", os.fsencode(ticket.path))
    native.path = path
    native.device, native.inode, native.size, native.modified_ns = ticket.identity
    forms = [_fill_form(native.record, ticket.record), _fill_form(native.reply, ticket.reply)]
    return Issued(native, [ticket, alive, path, *forms], len(ticket.reply.data))


def carry_out(batch: Batch) -> list[Carried]:
    """Carry out several creates, up to the first that fails."""
    issued = [cast("Issued", ticket).native for ticket in batch.tickets]
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


def _describe_carried(ticket: Any, values: tuple[int, ...]) -> Carried:
    outcome = describe_outcome(values)
    _, _, _, exiting, *_, heard = values
    reply = b""
    if outcome["stage"] is Stage.ANSWERED:
        reply = bytes(ffi.buffer(ticket.reply.data, ticket.reply.size))
    return Carried(exiting=exiting != 0, heard=heard, reply=reply, **outcome)


def _fill_form(native: Any, form: Form) -> Any:
    """Describe a form to the engine; returns the bytes that have to live as long."""
    native.data = data = ffi.new("uint8_t[]", form.data)
    native.size = len(form.data)
    for blank in BLANKS:
        setattr(native, blank, getattr(form, blank))
    return data
