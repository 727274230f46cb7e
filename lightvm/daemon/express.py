"""Creates without a step of Python between call and reply.

Who asks for the same twice is likely to ask for it again. So the shells of a pool are made ready, at a quiet time, for
what was last asked of it: each gets a *ticket*, which holds a name, the boot that is to be copied, the record for the
journal and the reply; they lack nothing but moments. The engine hears a client before Python does, with the tickets of
the shells that would be taken next. Says the client just those words, the engine lets the guest run, and answers when
that is ready. While it boots Python enters the domain into its tables: that costs the caller nothing where the guest
has a processor of its own. Right after its answer the engine hears the client's next call, without Python where there
is another ticket for it.

Whatever does not fit, another call, another image, a guest that is not quick, goes the usual way
(`lightvm.daemon.creator`). A ticket holds nothing that would have to be given back.
"""

from __future__ import annotations

import mmap
import socket
from collections.abc import Callable, Iterable, Sequence

import msgspec

from lightvm.daemon.attention import Attention
from lightvm.daemon.clock import WallClock
from lightvm.daemon.creator import Begun
from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.journal import Journal
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.pump import EventPump
from lightvm.daemon.rehearsal import Rehearsal, Rehearser
from lightvm.daemon.spinner import Spinner
from lightvm.daemon.tickets import Line, Tickets
from lightvm.daemon.waiting_room import WaitingRoom
from lightvm.model import CreateRequest
from lightvm.xen.express import (
    MOST_SERVED,
    Answer,
    Batch,
    Carried,
    Crowd,
    Desk,
    Join,
    Outcome,
    Series,
    Stage,
)
from lightvm.xen.hypervisor import Hypervisor

AHEAD = 2
"""So many creates of one client are on offer at once: the one that is next, and one to go on with right after it."""

MOST_UNLOOKED = 8
"""After so many creates of one client in a row it is looked whether others have come."""

# Before Python 3.12 an attribute of an enumeration costs as much as a call.
SAID, SPOILT, ANSWERED = Stage.SAID, Stage.SPOILT, Stage.ANSWERED


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """What came of waiting for a client: whether it has something, and whether nobody else has.

    What it has said is in `data` where that was read already. Where its create was carried out instead, `unsent` is
    what is left of the reply; or `begun`, where its guest is not ready yet; so many of its creates were carried out
    and answered `before` that.
    """

    here: bool
    alone: bool
    data: bytes | None = None
    unsent: bytes | None = None
    begun: Begun | None = None
    before: int = 0


class Express:
    """Has tickets on offer, and does what is left to do once one was taken."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        journal: Journal,
        tickets: Tickets,
        rehearser: Rehearser,
        spinner: Spinner,
        lifecycle: Lifecycle,
        pump: EventPump,
        clock: WallClock,
        attention: Attention,
        waiting_room: WaitingRoom,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self.tickets = tickets
        self._rehearser = rehearser
        self._spinner = spinner
        self._lifecycle = lifecycle
        self._pump = pump
        self._clock = clock
        self._attention = attention
        self._waiting_room = waiting_room
        self.clients: dict[int, Callable[[Met], None]] = {}
        """Who is told what came of a client's create that was carried out with those of others."""

    # One client

    def meet(self, peer: socket.socket, *, expected: int = 1) -> Met:
        """Wait a moment for anybody; where this client asks for what there is a ticket for, that is done.

        It may be done for so many creates one after the other, as many as are `expected` of a client who is by itself.
        """
        met = self._attend(peer, expected) if expected else None
        if met is None:
            here, alone = self._attention.wait_for(peer)
            met = Met(here=here, alone=alone)
        return met

    def _attend(self, peer: socket.socket, most: int) -> Met | None:
        """Wait for one client; None where nothing is on offer."""
        lines = self.tickets.on_offer(min(most, AHEAD))
        size = _record_bytes(lines)
        room = self._room(size)
        if room is None:
            return None
        journal, end = room
        desk = Desk(
            epoll=self._attention.epoll,
            peer=peer,
            seconds=self._attention.moment,
            spin_us=self._spinner.budget,
            offset_ns=self._clock.offset_ns,
            journal=journal,
            end=end,
            series=_describe(lines),
            most=most,
        )
        return self._go_along(desk, lines, size)

    def _go_along(self, desk: Desk, lines: Sequence[Line], size: int) -> Met:
        """Carry out what a client asks for, one create after the other, while each is answered in time.

        The records of all that may be taken need so many bytes at most. While a guest boots, the line is extended for
        the create after the next, and now and then it is looked whether others have come.
        """
        attended = self._hypervisor.attend(desk)
        last: tuple[Begun, Answer] | None = None
        before = 0
        while True:
            begun = None
            if attended.stage > SAID:
                rehearsal = lines[attended.number].rehearsals[attended.ticket]
                begun = self._conclude(rehearsal, attended)
            if last is not None:
                self._note_ready(last[0].domain, last[1])
            if begun is None:
                here = attended.data is not None
                return Met(here=here, alone=attended.alone, data=attended.data, before=before)
            size += self._extend(desk, lines[attended.number], attended.ticket + 1)
            room = self._room(size) if self._may_go_on(before + 1, desk.most) else None
            answer = self._hypervisor.answer(desk, attended, room)
            took = answer.heard - attended.running
            self._spinner.note(quick=answer.ready and not answer.late, took_ns=took)
            if answer.next is None:
                met = self._tell(begun, answer, alone=attended.alone, before=before)
                if answer.late:
                    self._pump.hear_pending()  # its event would look like somebody who wants something
                return met
            last, attended = (begun, answer), answer.next
            before += 1

    def _may_go_on(self, made: int, most: int) -> bool:
        """Whether one who has made so many creates in a row may make another before anybody else has his turn."""
        return made < most and (made % MOST_UNLOOKED != 0 or not self._attention.is_wanted())

    def _extend(self, desk: Desk, line: Line, taken: int) -> int:
        """Put one more into a line that may have more; return how much room its record needs."""
        if len(line.rehearsals) == desk.most:
            return 0
        more = self.tickets.extend(line, taken)
        if more is None:
            return 0
        self._hypervisor.extend(desk, line.number, more.issued)
        return more.record_bytes

    def _room(self, size: int) -> tuple[mmap.mmap, int] | None:
        """Return where the journal has room for records of so many bytes; None where it has none, or there are none."""
        return self._journal.room(size) if size else None

    # Several at once

    def serve_all(self) -> set[int]:
        """Carry out what all clients at rest ask for; return whose, by descriptor. Each was told what came of it."""
        lines = self.tickets.on_offer(MOST_SERVED)
        size = _record_bytes(lines)
        room = self._room(size)
        if room is None:
            return set()
        journal, end = room
        crowd = Crowd(
            epoll=self._waiting_room.epoll,
            resting=self._waiting_room.resting,
            spin_us=self._spinner.budget,
            offset_ns=self._clock.offset_ns,
            journal=journal,
            end=end,
            series=_describe(lines),
        )
        served = self._hypervisor.serve(crowd)
        if not served:
            return set()
        # Not before all are entered is anybody told: their records stand together.
        entered = [self._conclude(lines[s.number].rehearsals[s.ticket], s) for s in served]
        answers = self._hypervisor.answer_all(crowd, served)
        self._spinner.note(quick=2 * sum(answer.ready for answer in answers) >= len(answers))
        for each, begun, answer in zip(served, entered, answers, strict=True):
            if begun is None:
                call = lines[each.number].call + b"\0"
                met = Met(here=True, alone=False, data=call)
            else:
                met = self._tell(begun, answer, alone=False)
            self.clients[each.client](met)
        return {each.client for each in served}

    def create_together(
        self, requests: Sequence[CreateRequest], join: Join, tell: Callable[[bytes], None] | None
    ) -> list[Begun]:
        """Carry out those requests, from the first on, for which there are tickets, where all are the same.

        Where all of them are ready, `tell` is called with what `join` has made of their replies, before anything else.
        What is returned is entered already.
        """
        same = requests.count(requests[0]) == len(requests)
        rehearsals = self.tickets.line_for(requests[0], len(requests)) if same else []
        size = sum(rehearsal.record_bytes for rehearsal in rehearsals)
        room = self._room(size)
        if room is None:
            return []
        journal, end = room
        carried = self._hypervisor.carry_out(
            Batch(
                tickets=[r.issued for r in rehearsals],
                spin_us=self._spinner.budget,
                offset_ns=self._clock.offset_ns,
                journal=journal,
                end=end,
                join=join,
                tell=tell if len(rehearsals) == len(requests) else None,
            )
        )
        if carried:
            self._spinner.note(quick=all(each.stage is ANSWERED for each in carried))
        return self._conclude_together(rehearsals, carried)

    def _conclude_together(
        self, rehearsals: list[Rehearsal], carried: list[Carried]
    ) -> list[Begun]:
        done = [
            (
                outcome,
                self._conclude(rehearsal, outcome, outcome.heard * (outcome.stage is ANSWERED)),
            )
            for rehearsal, outcome in zip(rehearsals, carried, strict=False)
        ]
        entered = [(outcome, begun) for outcome, begun in done if begun is not None]
        for outcome, begun in entered:
            if outcome.stage is ANSWERED:
                self._note_ready(begun.domain, outcome)
        return [begun for _, begun in entered]

    # What is left to do

    def _conclude(self, rehearsal: Rehearsal, outcome: Outcome, ready: int = 0) -> Begun | None:
        """Enter a domain that there is now; None where its shell is spoilt.

        The engine may have written the records of more behind its own: nothing else is journalled before those are
        entered, too, such as that the one before is ready.
        """
        if outcome.stage is SPOILT:
            self._rehearser.take_back(rehearsal, outcome)
            return None
        self.tickets.want()
        return self._rehearser.enter(rehearsal, outcome, ready)

    def _tell(self, begun: Begun, answer: Answer, *, alone: bool, before: int = 0) -> Met:
        """Return what came of the call of somebody whose domain was entered."""
        if not answer.ready:
            return Met(here=False, alone=alone, begun=begun, before=before)
        self._note_ready(begun.domain, answer)
        return Met(here=False, alone=alone, unsent=answer.unsent, before=before)

    def _note_ready(self, domain: LiveDomain, said: Answer | Carried) -> None:
        if said.exiting:
            self._lifecycle.hear_control(domain, said.heard)
        else:
            self._lifecycle.mark_ready(domain, said.heard)


def _record_bytes(lines: Iterable[Line]) -> int:
    """Return how much room the records need of all that may be taken."""
    size = 0
    for line in lines:
        for rehearsal in line.rehearsals:
            size += rehearsal.record_bytes
    return size


def _describe(lines: Iterable[Line]) -> list[Series]:
    return [Series(line.call, [r.issued for r in line.rehearsals], line.number) for line in lines]
