"""Creates without a step of Python between call and reply.

Who asks for the same twice is likely to ask for it again. So the shells of a pool are made ready, at a quiet time, for
what was last asked of it: each gets a *ticket*, which holds a name, the boot that is to be copied, the record for the
journal and the reply; they lack nothing but moments. The engine hears a client before Python does, with the tickets of
the shells that would be taken next. Says the client just those words, the engine does all of it, and Python enters the
domain into its tables as soon as it is back, before anything else can run.

Whatever does not fit, another call, another image, a guest that is not quick, goes the usual way
(`lightvm.daemon.creator`). A ticket holds nothing that would have to be given back.
"""

from __future__ import annotations

import mmap
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import msgspec
import trio
from msgspec.structs import replace

from lightvm import wire
from lightvm.daemon.attention import Attention
from lightvm.daemon.clock import WallClock
from lightvm.daemon.creator import Begun
from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.housekeeping import QUIET_SECONDS
from lightvm.daemon.journal import Journal
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.pump import EventPump
from lightvm.daemon.rehearsal import Rehearsal, Rehearser
from lightvm.daemon.shells import Pools, Shell, ShellPool
from lightvm.daemon.spinner import Spinner
from lightvm.daemon.understanding import Understanding, Understood
from lightvm.model import CreateRequest
from lightvm.xen.express import (
    MOST_SERVED,
    Attended,
    Batch,
    Carried,
    Crowd,
    Desk,
    Offer,
    Outcome,
    Series,
    Served,
    Stage,
)
from lightvm.xen.hypervisor import Hypervisor

# Before Python 3.12 an attribute of an enumeration costs as much as a call.
SAID, SPOILT, ANSWERED = Stage.SAID, Stage.SPOILT, Stage.ANSWERED

MOST_TICKETS = 256
"""Of one pool: each costs some kilobytes."""

MOST_CALLS = 8
"""Calls on offer at once: the engine compares what it hears with each."""

LONGEST_CALL = 16384
"""Bytes; a longer one may come in pieces, and takes room here."""

HEARD_LATELY = 4
"""A call counts as one that is made often when it is among so many before it."""

FIRST_TICKETS = 16
"""Of one pool: those of the shells that are taken next. They are made without a rest."""

REST = 9
"""After each further ticket others have so many times as long: making them takes a tenth of the daemon's time."""


class Demand(msgspec.Struct, eq=False):
    """What is asked of a pool, and the tickets for that, by the UUID of their shell."""

    pool: ShellPool
    meant: Understood
    tickets: dict[str, Rehearsal] = msgspec.field(default_factory=dict)


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """What came of waiting for a client: whether it has something, and whether nobody else has.

    What it has said is in `data` where that was read already. Where its create was carried out instead, `unsent` is
    what is left of the reply; or `begun`, where its guest is not ready yet. So many creates were
    `served`, where others were waited for, too, and `left` says whether any of them wants something still.
    """

    here: bool
    alone: bool
    data: bytes | None = None
    unsent: bytes | None = None
    begun: Begun | None = None
    served: int = 0
    left: bool = True


class Express:
    """Makes tickets, has them on offer, and does what is left to do once one was taken."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        journal: Journal,
        pools: Pools,
        rehearser: Rehearser,
        understanding: Understanding,
        spinner: Spinner,
        lifecycle: Lifecycle,
        pump: EventPump,
        clock: WallClock,
        attention: Attention,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._pools = pools
        self._rehearser = rehearser
        self._understanding = understanding
        self._spinner = spinner
        self._lifecycle = lifecycle
        self._pump = pump
        self._clock = clock
        self._attention = attention
        self._lately: deque[bytes] = deque(maxlen=HEARD_LATELY)
        self._demands: dict[bytes, Demand] = {}
        """By the call that asks for it; several calls may ask for the same."""
        self._wanted = trio.Event()
        self._crowded = False
        self.clients: dict[int, Callable[[Met], None]] = {}
        """Who is told what came of a client's create that was carried out while another was waited for."""
        pools.on_added = self._want

    # Making tickets

    def note(self, call: bytes, request: CreateRequest) -> None:
        """Note a call that has been answered with a domain from a pool. Part of the hot path."""
        if request.name is not None or len(call) > LONGEST_CALL:
            return
        if call in self._demands:
            self._want()
        elif call in self._lately:
            self._learn(call, request)
        else:
            self._lately.append(call)

    def _want(self) -> None:
        self._wanted.set()

    def _learn(self, call: bytes, request: CreateRequest) -> None:
        meant = self._understanding.recall(request)
        if meant is None or meant.wish.pool is None or not self._rehearser.suits(meant):
            return
        pool = meant.wish.pool
        before = self._demand_for(pool)
        demand = before
        if demand is None or demand.meant.request != request:
            demand = Demand(pool, meant)
            self._drop(before)
        while len(self._demands) >= MOST_CALLS:
            del self._demands[next(iter(self._demands))]
        self._demands[call] = demand
        self._want()

    def _demand_for(self, pool: ShellPool) -> Demand | None:
        return next((d for d in self._demands.values() if d.pool is pool), None)

    def _drop(self, demand: Demand | None) -> None:
        self._demands = {call: d for call, d in self._demands.items() if d is not demand}

    async def make_tickets(self) -> None:
        """Make tickets for the shells that have none, for ever, whenever no create has come for a while."""
        while True:
            await self._wanted.wait()
            await self._pools.wait_quiet(QUIET_SECONDS)  # to look at all shells takes long, too
            self._wanted = trio.Event()
            for demand in set(self._demands.values()):
                await self._make_some(demand)

    async def _make_some(self, demand: Demand) -> None:
        for number, shell in enumerate(list(islice(reversed(demand.pool.shells), MOST_TICKETS))):
            if shell.uuid not in demand.tickets:
                await self._pools.wait_quiet(QUIET_SECONDS)
                begun = time.perf_counter()
                self._make(demand, shell)
                rest = REST if number >= FIRST_TICKETS else 0
                await trio.sleep(rest * (time.perf_counter() - begun))
        here = {shell.uuid for shell in demand.pool.shells}
        for uuid in demand.tickets.keys() - here:
            del demand.tickets[uuid]

    def _make(self, demand: Demand, shell: Shell) -> None:
        if not self._rehearser.suits(demand.meant):
            self._drop(demand)  # its image is another by now
            return
        rehearsal = self._rehearser.rehearse(shell, demand.pool, demand.meant)
        if rehearsal is not None:
            demand.tickets[shell.uuid] = rehearsal

    def count_tickets(self, pool: ShellPool) -> int:
        """Return how many of a pool's shells have a ticket."""
        demand = self._demand_for(pool)
        return sum(shell.uuid in demand.tickets for shell in pool.shells) if demand else 0

    # Waiting with them

    def meet(self, peer: socket.socket) -> Met:
        """Wait a moment for anybody; where this client asks for what there is a ticket for, that is done.

        Where others have come too, lately, what they ask for is done as well. Raises `OSError` where this client's
        connection is broken.
        """
        crowded, self._crowded = self._crowded, False
        met = None
        if self._demands:
            met = self._serve(peer.fileno()) if crowded else self._attend(peer)
        if met is None:
            here, alone = self._attention.wait_for(peer.fileno())
            met = Met(here=here, alone=alone)
        self._crowded = not met.alone and len(self.clients) > 1
        return met

    def _attend(self, peer: socket.socket) -> Met | None:
        """Wait for one client; None where nothing is on offer."""
        rehearsals = self._on_offer()
        room = self._room(rehearsals.values())
        if room is None:
            return None
        journal, end = room
        budget = self._spinner.budget
        attended = self._hypervisor.attend(
            Desk(
                epoll=self._attention.epoll,
                peer=peer,
                seconds=self._attention.moment,
                spin_us=budget,
                offset_ns=self._clock.offset_ns,
                journal=journal,
                end=end,
                offers=[Offer(call, r.issued) for call, r in rehearsals.items()],
            )
        )
        if attended.stage <= SAID:
            return Met(here=attended.data is not None, alone=attended.alone, data=attended.data)
        rehearsal = list(rehearsals.values())[attended.taken]
        ready = attended.stage is ANSWERED
        quick = ready and self._spinner.was_quick(attended)
        self._spinner.note(quick=quick)
        begun = self._conclude(rehearsal, attended)
        if ready and not (quick and budget):
            self._pump.hear_pending()  # its event, which would look like somebody who wants something
        return self._tell(attended, begun, attended.data or b"", alone=attended.alone)

    def _room(self, rehearsals: Iterable[Rehearsal]) -> tuple[mmap.mmap, int] | None:
        """Return where the journal has room for what may be taken; None where nothing may."""
        size = 0
        for rehearsal in rehearsals:
            size += rehearsal.record_bytes
        return self._journal.room(size) if size else None

    # Several at once

    def _serve(self, client: int) -> Met | None:
        """Serve all clients at rest; None where nothing is on offer."""
        lines = self._line_up_all()
        room = self._room([rehearsal for _, line in lines for rehearsal in line])
        if room is None:
            return None
        journal, end = room
        attention = self._attention
        gathered = self._hypervisor.serve(
            Crowd(
                epoll=attention.epoll,
                client=client,
                resting=attention.resting,
                seconds=attention.moment,
                spin_us=self._spinner.budget,
                offset_ns=self._clock.offset_ns,
                journal=journal,
                end=end,
                series=[Series(call, [r.issued for r in line]) for call, line in lines],
            )
        )
        ours = Met(here=gathered.here, alone=gathered.alone)
        done = [
            (each, lines[each.series][0], self._conclude(lines[each.series][1][each.ticket], each))
            for each in gathered.served
        ]
        if done:
            ready = sum(each.stage is ANSWERED for each, _, _ in done)
            self._spinner.note(quick=2 * ready >= len(done))
        for each, call, begun in done:  # not before all are entered: their records stand together
            met = self._tell(each, begun, call + b"\0", alone=gathered.alone)
            if each.client == client:
                ours = met
            else:
                self.clients[each.client](met)
        return replace(ours, served=len(done), left=gathered.left)

    def _line_up_all(self) -> list[tuple[bytes, list[Rehearsal]]]:
        """Return what may be taken just now by several, by the words last learned for it."""
        words = {id(demand): (call, demand) for call, demand in self._demands.items()}
        lines = [(call, self._line_up(demand, MOST_SERVED)) for call, demand in words.values()]
        return [(call, line) for call, line in lines if line]

    def _line_up(self, demand: Demand, most: int) -> list[Rehearsal]:
        """Return what was rehearsed with the shells that would be taken next, for as many as it was in a row."""
        line = []
        for shell in islice(reversed(demand.pool.shells), most):
            rehearsal = demand.tickets.get(shell.uuid)
            if rehearsal is None or not self._rehearser.is_good(rehearsal):
                break
            line.append(rehearsal)
        return line

    def create_together(
        self, requests: Sequence[CreateRequest], tell: Callable[[bytes], None] | None
    ) -> list[Begun]:
        """Carry out those requests, from the first on, for which there are tickets, where all are the same.

        Where all of them are ready, `tell` is called with the reply that says so, before anything else. What is
        returned is entered already.
        """
        rehearsals = self._find_together(requests)
        room = self._room(rehearsals)
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
            )
        )
        ready = [each.reply for each in carried if each.stage is ANSWERED]
        if tell is not None and len(ready) == len(requests):
            tell(wire.join_created(ready))
        if carried:
            self._spinner.note(quick=len(ready) == len(carried))
        return self._conclude_together(rehearsals, carried)

    def _find_together(self, requests: Sequence[CreateRequest]) -> list[Rehearsal]:
        """Return what was rehearsed with the shells that would be taken next, for as many as it was in a row."""
        first = requests[0]
        demand = next((d for d in self._demands.values() if d.meant.request == first), None)
        if demand is None or any(r != first for r in requests):
            return []
        return self._line_up(demand, len(requests))

    def _conclude_together(
        self, rehearsals: list[Rehearsal], carried: list[Carried]
    ) -> list[Begun]:
        done = [
            (outcome, self._conclude(rehearsal, outcome))
            for rehearsal, outcome in zip(rehearsals, carried, strict=False)
        ]
        entered = [(outcome, begun) for outcome, begun in done if begun is not None]
        for outcome, begun in entered:
            if outcome.stage is ANSWERED:
                self._note_ready(begun.domain, outcome)
        return [begun for _, begun in entered]

    def _on_offer(self) -> dict[bytes, Rehearsal]:
        """Return what may be taken just now: of each pool what was rehearsed with the shell that is taken next."""
        offers = {}
        for call, demand in self._demands.items():
            shells = demand.pool.shells
            rehearsal = demand.tickets.get(shells[-1].uuid) if shells else None
            if rehearsal is None:
                continue
            if self._rehearser.is_good(rehearsal):
                offers[call] = rehearsal
            else:
                del demand.tickets[rehearsal.shell.uuid]
        return offers

    # What is left to do

    def _conclude(self, rehearsal: Rehearsal, outcome: Outcome) -> Begun | None:
        """Enter a domain that there is now; None where its shell is spoilt.

        The engine may have written the records of more behind its own: nothing else is journalled before those are
        entered, too.
        """
        if outcome.stage is SPOILT:
            self._rehearser.take_back(rehearsal, outcome)
            return None
        self._want()
        return self._rehearser.enter(rehearsal, outcome)

    def _tell(
        self, outcome: Attended | Served, begun: Begun | None, call: bytes, *, alone: bool
    ) -> Met:
        """Return what came of the call of somebody whose domain was entered, or could not be made."""
        if begun is None:
            return Met(here=True, alone=alone, data=call)
        if outcome.stage is not ANSWERED:
            return Met(here=False, alone=alone, begun=begun)
        self._note_ready(begun.domain, outcome)
        return Met(here=False, alone=alone, unsent=outcome.unsent)

    def _note_ready(self, domain: LiveDomain, outcome: Outcome) -> None:
        if outcome.exiting:
            self._lifecycle.hear_control(domain, outcome.heard)
        else:
            self._lifecycle.mark_ready(domain, outcome.heard)
