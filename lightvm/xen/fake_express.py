"""What ``native/src/express.c`` does, over a hypervisor in memory."""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

from msgspec.structs import asdict, replace

from lightvm.errors import LightVMError
from lightvm.xen.express import (
    BLANKS,
    MOST_LINES,
    MOST_SERVED,
    Answer,
    Attended,
    Batch,
    Carried,
    Crowd,
    Desk,
    Form,
    Outcome,
    Series,
    Served,
    Stage,
    Ticket,
)
from lightvm.xen.hypervisor import Hypervisor

_RECEIVE_BYTES = 65536
_MOST_EVENTS = 2
"""As in the engine: enough to see that a client is not alone."""
_DURATION_WIDTH = 10


class _Counted(Hypervisor, Protocol):
    """A hypervisor in memory, whose calls are counted and may be made to fail."""

    _taken: list[int]
    """So many tickets of each line of the desk."""

    def _enter(self, method: str) -> None: ...


class FakeExpress:
    """The part of a `FakeHypervisor` that answers clients."""

    def attend(self: _Counted, desk: Desk) -> Attended:
        """Wait for one client, and begin its create where that is on offer."""
        self._enter("attend")
        self._taken = [0] * MOST_LINES
        return _await_call(self, desk, desk.journal, desk.end, self._taken)

    def extend(self: _Counted, desk: Desk, line: int, ticket: object) -> None:
        """Put one more ticket at the end of a line."""
        self._enter("extend")
        lists = {id(one.tickets): one.tickets for one in desk.series if one.line == line}
        for tickets in lists.values():
            assert len(tickets) < desk.most
            tickets.append(ticket)

    def answer(
        self: _Counted, desk: Desk, attended: Attended, room: tuple[mmap.mmap, int] | None = None
    ) -> Answer:
        """Look at the guest of a create that was begun, and reply; where there is room, wait for the next call."""
        self._enter("answer")
        series = desk.series[attended.number]
        ticket = cast("Ticket", series.tickets[attended.ticket])
        late = False
        answer, reply = _look(self, desk.spin_us, desk.offset_ns, ticket, attended)
        if not answer.ready and attended.alone and desk.epoll.poll(desk.seconds, 1):
            late = True
            answer, reply = _look(self, 0, desk.offset_ns, ticket, attended)
        if not answer.ready:
            return answer
        answer = replace(answer, late=late, unsent=reply[_send(desk.peer, reply) :])
        more = self._taken[series.line] < len(series.tickets)
        if room is None or late or answer.unsent or not attended.alone or not more:
            return answer
        following = _take_call(self, desk, *room, self._taken)
        if following.stage is Stage.NOBODY:
            following = _await_call(self, desk, *room, self._taken)
        return replace(answer, next=following)

    def serve(self: _Counted, crowd: Crowd) -> list[Served]:
        """Begin the creates of all clients at rest that ask for what is on offer."""
        self._enter("serve")
        taken = [0] * MOST_LINES
        served: list[Served] = []
        end = crowd.end
        for fd, _ in crowd.epoll.poll(0, MOST_SERVED):
            found = _find_series(crowd, fd, taken)
            if found is None:
                continue
            number, place = found
            ticket = cast("Ticket", crowd.series[number].tickets[place])
            outcome = _start(self, crowd.journal, end, crowd.offset_ns, ticket)
            served.append(Served(client=fd, number=number, ticket=place, **asdict(outcome)))
            end += outcome.journalled
            if outcome.stage is Stage.SPOILT:
                break
        return served

    def answer_all(self: _Counted, crowd: Crowd, served: Sequence[Served]) -> list[Answer]:
        """Look at the guests of the creates that were begun, and reply to those that are ready."""
        self._enter("answer_all")
        answers, spin_us = [], crowd.spin_us
        for each in served:
            answer = Answer(ready=False)
            if each.stage is Stage.RUNNING:
                ticket = cast("Ticket", crowd.series[each.number].tickets[each.ticket])
                answer, reply = _look(self, spin_us, crowd.offset_ns, ticket, each)
                if answer.ready:
                    with _borrowed(each.client) as peer:
                        answer = replace(answer, unsent=reply[_send(peer, reply) :])
                else:
                    spin_us = 0
            answers.append(answer)
        return answers

    def carry_out(self: _Counted, batch: Batch) -> list[Carried]:
        """Carry out several creates, up to the first that fails; look at their guests when all have begun."""
        self._enter("carry_out")
        tickets = [cast("Ticket", ticket) for ticket in batch.tickets]
        if not tickets or not _is_same_file(tickets[0]):
            return []
        begun: list[Outcome] = []
        end = batch.end
        for ticket in tickets:
            begun.append(_start(self, batch.journal, end, batch.offset_ns, ticket))
            end += begun[-1].journalled
            if begun[-1].stage is Stage.SPOILT:
                break
        joined, places = batch.join([ticket.reply.data for ticket in tickets])
        carried = []
        spin_us = batch.spin_us
        for ticket, outcome, place in zip(tickets, begun, places, strict=False):
            answer = Answer(ready=False)
            if outcome.stage is Stage.RUNNING:
                answer, reply = _look(self, spin_us, batch.offset_ns, ticket, outcome)
                if answer.ready:
                    outcome = replace(outcome, stage=Stage.ANSWERED)
                    _fill_in(joined, place, ticket.reply.data, reply)
                else:
                    spin_us = 0
            carried.append(Carried(exiting=answer.exiting, heard=answer.heard, **asdict(outcome)))
        if batch.tell is not None and all(each.stage is Stage.ANSWERED for each in carried):
            batch.tell(bytes(joined))
        return carried


def _fill_in(joined: bytearray, place: int, form: bytes, filled: bytes) -> None:
    """Do to a reply that is joined of others what was done to a form."""
    for at, (blank, byte) in enumerate(zip(form, filled, strict=True), place):
        if byte != blank:
            joined[at] = byte


def _await_call(
    hypervisor: Hypervisor, desk: Desk, journal: mmap.mmap, end: int, taken: list[int]
) -> Attended:
    """Wait for the client's next call, and begin what it asks for where there is a ticket for that."""
    fds = [fd for fd, _ in desk.epoll.poll(desk.seconds, _MOST_EVENTS)]
    if not fds:
        return Attended(stage=Stage.NOBODY, alone=True)
    if desk.peer.fileno() not in fds and len(fds) < _MOST_EVENTS:
        return Attended(stage=Stage.OTHERS)
    attended = _take_call(hypervisor, desk, journal, end, taken)
    if attended.stage is Stage.NOBODY:
        return Attended(stage=Stage.OTHERS)
    return attended if len(fds) == 1 else replace(attended, alone=False)


def _take_call(
    hypervisor: Hypervisor, desk: Desk, journal: mmap.mmap, end: int, taken: list[int]
) -> Attended:
    try:
        data = desk.peer.recv(_RECEIVE_BYTES)
    except BlockingIOError:
        return Attended(stage=Stage.NOBODY, alone=True)
    except ConnectionError:
        return Attended(stage=Stage.SAID, alone=True, data=b"")
    found = _find_ticket(desk.series, data, taken)
    if found is None:
        return Attended(stage=Stage.SAID, alone=True, data=data)
    number, place = found
    ticket = cast("Ticket", desk.series[number].tickets[place])
    outcome = _start(hypervisor, journal, end, desk.offset_ns, ticket)
    said = data if outcome.stage is Stage.SPOILT else None
    return Attended(alone=True, data=said, number=number, ticket=place, **asdict(outcome))


def _find_ticket(
    all_series: Sequence[Series], data: bytes, taken: list[int]
) -> tuple[int, int] | None:
    """Take a ticket for a call where there is one left; return of which series, and which of its tickets."""
    for number, series in enumerate(all_series):
        if data == series.call + b"\0":
            place = taken[series.line]
            if place < len(series.tickets) and _is_same_file(cast("Ticket", series.tickets[place])):
                taken[series.line] += 1
                return number, place
            return None
    return None


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """Yield a socket of that descriptor, which stays open."""
    peer = socket.socket(fileno=fd)
    try:
        yield peer
    finally:
        peer.detach()


def _find_series(crowd: Crowd, fd: int, taken: list[int]) -> tuple[int, int] | None:
    """Read a client's call where there is a ticket for it left."""
    if fd >= len(crowd.resting) or not crowd.resting[fd]:
        return None
    with _borrowed(fd) as peer:
        try:
            data = peer.recv(_RECEIVE_BYTES, socket.MSG_PEEK)
        except OSError:
            return None
        found = _find_ticket(crowd.series, data, taken)
        if found is not None:
            peer.recv(len(data))
        return found


def _is_same_file(ticket: Ticket) -> bool:
    try:
        status = os.stat(ticket.path)
    except OSError:
        return False
    return ticket.identity == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _start(
    hypervisor: Hypervisor, journal: mmap.mmap, end: int, offset_ns: int, ticket: Ticket
) -> Outcome:
    begun = time.perf_counter_ns()
    journalled = 0
    try:
        loaded = hypervisor.load(ticket.handle, ticket.boot, watched=True)
        record = fill(ticket.record, created=loaded + offset_ns)
        journalled = len(record)
        journal[end : end + journalled] = record
        asked, running = hypervisor.unpause(ticket.handle)
    except LightVMError as exc:
        return Outcome(stage=Stage.SPOILT, journalled=journalled, error=exc, begun=begun)
    return Outcome(
        stage=Stage.RUNNING,
        journalled=journalled,
        begun=begun,
        loaded=loaded,
        asked=asked,
        running=running,
    )


def _look(
    hypervisor: Hypervisor, spin_us: int, offset_ns: int, ticket: Ticket, outcome: Outcome
) -> tuple[Answer, bytes]:
    heard = hypervisor.spin_control(ticket.handle, spin_us)
    control = hypervisor.read_control(ticket.handle) if heard else None
    if control is None or control.ready != 1:
        return Answer(ready=False, heard=heard or time.perf_counter_ns()), b""
    reply = fill(
        ticket.reply,
        created=outcome.loaded + offset_ns,
        ready=heard + offset_ns,
        load_us=outcome.loaded - outcome.begun,
        journal_us=outcome.asked - outcome.loaded,
        unpause_us=outcome.running - outcome.asked,
        ready_us=heard - outcome.running,
        total_us=heard - outcome.begun,
    )
    return Answer(ready=True, exiting=control.exiting != 0, heard=heard), reply


def _send(peer: socket.socket, reply: bytes) -> int:
    """Write a reply; returns how much of it needs no more writing, which is all where nobody is there any more."""
    try:
        return peer.send(reply)
    except BlockingIOError:
        return 0
    except OSError:
        return len(reply)


def fill(form: Form, **moments: int) -> bytes:
    """Return a form with its blanks filled; moments are in nanoseconds, those in `created` and `ready` since 1970."""
    data = bytearray(form.data)
    for name in BLANKS:
        place, ns = getattr(form, name), moments.get(name, 0)
        if not place:
            continue
        us = ns // 1000
        if name in ("created", "ready"):
            text = f"{us // 1000000:010d}.{us % 1000000:06d}"
        else:
            text = f"{us:{_DURATION_WIDTH}d}"
        data[place : place + len(text)] = text.encode()
    return bytes(data)
