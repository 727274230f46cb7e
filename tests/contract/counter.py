"""Clients that ask for what is on offer, and the desk where they are heard."""

from __future__ import annotations

import json
import mmap
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import asdict, replace

from lightvm.xen.express import (
    SOME_DURATION,
    SOME_TIME,
    Answer,
    Attended,
    Batch,
    Carried,
    Crowd,
    Desk,
    Form,
    Series,
    Served,
    Stage,
    Ticket,
)
from lightvm.xen.hypervisor import Handle
from tests.contract.rig import Rig

CALL = b'{"method":"Create"}'
OTHER_CALL = b'{"method":"Creat0"}'
END = 64
"""Where the journal of these tests ends."""

RECORD = json.dumps({"op": "domain", "created": SOME_TIME}, separators=(",", ":")).encode()
REPLY = json.dumps(
    {
        "of": '"created":1111111111.111111',
        "created": SOME_TIME,
        "ready": SOME_TIME,
        "load_us": SOME_DURATION,
        "journal_us": SOME_DURATION,
        "unpause_us": SOME_DURATION,
        "ready_us": SOME_DURATION,
        "total_us": SOME_DURATION,
    },
    separators=(",", ":"),
).encode()


class Offer(NamedTuple):
    """The words of a call, and a ticket for whoever says them."""

    call: bytes
    ticket: object


def _line_up(offers: Sequence[Offer]) -> list[Series]:
    """Return a line of tickets for each call."""
    by_call: dict[bytes, list[object]] = {}
    for offer in offers:
        by_call.setdefault(offer.call, []).append(offer.ticket)
    return [Series(call, tickets, line) for line, (call, tickets) in enumerate(by_call.items())]


class Dealt(Attended, frozen=True, kw_only=True):
    """What came of one client, its answer included."""

    ready: bool = False
    exiting: bool = False
    heard: int = 0
    unsent: bytes = b""
    late: bool = False
    next: Attended | None = None


class OneDealt(Served, frozen=True, kw_only=True):
    """The same of one of a crowd."""

    ready: bool = False
    exiting: bool = False
    heard: int = 0
    unsent: bytes = b""
    late: bool = False
    next: None = None


D = TypeVar("D", Dealt, OneDealt)


def _join_replies(replies: Sequence[bytes]) -> tuple[bytearray, list[int]]:
    """Return one reply of several, a line for each."""
    places = [sum(len(each) + 1 for each in replies[:index]) for index in range(len(replies))]
    return bytearray(b"\n".join(replies)), places


def _join(dealt: D, answer: Answer) -> D:
    stage = Stage.ANSWERED if answer.ready else dealt.stage
    return replace(
        dealt, stage=stage, **{name: getattr(answer, name) for name in answer.__struct_fields__}
    )


class Counter:
    """One client at a desk, somebody else who is not at rest, and others who are."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self._rig = rig
        self.image = directory / "image"
        self.image.write_bytes(b"kernel")
        self.client, self.peer = socket.socketpair()
        self.other, self._others_peer = socket.socketpair()
        self.peer.setblocking(False)
        self.epoll = select.epoll()
        self.journal = mmap.mmap(-1, 4096)
        self.resting = bytearray(1024)
        self.crowd: list[socket.socket] = []
        self.peers: list[socket.socket] = []
        self.told: list[bytes] = []
        for fd in (self.peer, self._others_peer):
            self.epoll.register(fd, select.EPOLLIN)

    def close(self) -> None:
        for each in (self.client, self.peer, self.other, self._others_peer, self.epoll):
            each.close()
        for each in (*self.crowd, *self.peers):
            each.close()
        self.journal.close()  # raises where somebody still points into it

    def issue(self, handle: Handle, guest: str = "noop", cmdline: str = "") -> Offer:
        """Put a create on offer."""
        status = self.image.stat()
        ticket = Ticket(
            handle=handle,
            boot=self._rig.describe(guest, cmdline),
            path=str(self.image),
            identity=(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns),
            record=Form.of(RECORD),
            reply=Form.of(REPLY),
        )
        return Offer(CALL, self._rig.hypervisor.issue(ticket))

    def carry_out(self, *offers: Offer, spin_us: int = 5_000_000) -> list[Carried]:
        """Carry out all that is on offer; what is told then is in `told`, one reply after the other."""
        self.told = []
        return self._rig.hypervisor.carry_out(
            Batch(
                tickets=[offer.ticket for offer in offers],
                spin_us=spin_us,
                offset_ns=time.time_ns() - time.perf_counter_ns(),
                journal=self.journal,
                end=END,
                join=_join_replies,
                tell=lambda joined: self.told.extend(joined.splitlines()),
            )
        )

    def attend(self, *offers: Offer, spin_us: int = 5_000_000) -> Dealt:
        """Wait for the client a moment, and answer it."""
        desk = self.open_desk(_line_up(offers), spin_us=spin_us)
        attended = self._rig.hypervisor.attend(desk)
        dealt = Dealt(**asdict(attended))
        if attended.stage is not Stage.RUNNING:
            return dealt
        return _join(dealt, self._rig.hypervisor.answer(desk, attended))

    def open_desk(
        self, series: Sequence[Series], *, spin_us: int = 5_000_000, most: int = 0
    ) -> Desk:
        """Return a desk for the client."""
        return Desk(
            epoll=self.epoll,
            peer=self.peer,
            seconds=0.01,
            spin_us=spin_us,
            offset_ns=time.time_ns() - time.perf_counter_ns(),
            journal=self.journal,
            end=END,
            series=series,
            most=most,
        )

    def serve(self, *offers: Offer, spin_us: int = 5_000_000) -> list[OneDealt]:
        """Serve all who are at rest, with tickets for the one call or the other, and answer them."""
        crowd = Crowd(
            epoll=self.epoll,
            resting=self.resting,
            spin_us=spin_us,
            offset_ns=time.time_ns() - time.perf_counter_ns(),
            journal=self.journal,
            end=END,
            series=_line_up(offers),
        )
        all_served = self._rig.hypervisor.serve(crowd)
        answers = self._rig.hypervisor.answer_all(crowd, all_served)
        return [
            _join(OneDealt(**asdict(served)), answer)
            for served, answer in zip(all_served, answers, strict=True)
        ]

    def join(self, number: int) -> Sequence[socket.socket]:
        """Have more clients, each at rest; returns their ends."""
        for _ in range(number):
            client, peer = socket.socketpair()
            peer.setblocking(False)
            self.epoll.register(peer.fileno(), select.EPOLLIN)
            self.resting[peer.fileno()] = 1
            self.crowd.append(client)
            self.peers.append(peer)
        return self.crowd
