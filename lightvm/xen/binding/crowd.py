"""Many clients at once, as the engine has them (``native/src/express.c``)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, cast

from lightvm.xen._native import ffi, lib
from lightvm.xen.binding.tickets import (
    Issued,
    describe_answer,
    describe_outcome,
    describe_series,
)
from lightvm.xen.express import MOST_SERVED, Answer, Crowd, Served

_HEARD_BYTES = 65536

_SERVED = struct.Struct("@iIIiiiII5q")
"""`struct lvm_served`."""

assert _SERVED.size == ffi.sizeof("struct lvm_served")
assert MOST_SERVED == lib.LVM_CROWD_MAX


class NativeCrowd:
    """`struct lvm_crowd`, and what it points into."""

    def __init__(self) -> None:
        self._native = native = ffi.new("struct lvm_crowd *")
        self._heard = ffi.new("uint8_t[]", _HEARD_BYTES)
        native.buffer, native.buffer_size = self._heard, _HEARD_BYTES
        self._served = ffi.buffer(native.served)
        self._alive: list[Any] = []

    def serve(self, crowd: Crowd) -> list[Served]:
        """Begin the creates of all clients at rest that ask for what is on offer."""
        native = self._native
        assert len(crowd.series) <= MOST_SERVED, "the engine has no room for more"
        native.epoll = crowd.epoll.fileno()
        native.spin_us, native.offset_ns = crowd.spin_us, crowd.offset_ns
        series, self._alive = describe_series(crowd.series)
        native.series, native.nr_series = series, len(crowd.series)
        resting = ffi.from_buffer("uint8_t[]", crowd.resting)
        native.resting, native.nr_resting = resting, len(resting)
        journal = ffi.from_buffer("uint8_t[]", crowd.journal)
        native.journal = journal + crowd.end
        count = lib.lvm_serve(native)
        ffi.release(journal)
        ffi.release(resting)
        return [self._describe(index) for index in range(count)]

    def _describe(self, index: int) -> Served:
        client, number, ticket, _, *values = self._values(index)
        return Served(client=client, number=number, ticket=ticket, **describe_outcome(values))

    def _values(self, index: int) -> tuple[int, ...]:
        return _SERVED.unpack_from(self._served, index * _SERVED.size)

    def answer_all(self, crowd: Crowd, served: Sequence[Served]) -> list[Answer]:
        """Look at the guests of the creates that were begun, and reply to those that are ready."""
        lib.lvm_answer_all(self._native)
        answers = []
        for index, each in enumerate(served):
            _, _, _, sent, *values = self._values(index)
            issued = cast("Issued", crowd.series[each.number].tickets[each.ticket])
            answers.append(describe_answer(values, issued, sent))
        return answers
