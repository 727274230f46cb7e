"""Tickets: what is asked for often, and the creates that are made ready for it, at a quiet time.

What a ticket is, and what becomes of it, is in `lightvm.daemon.express`.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice

import msgspec
import trio

from lightvm.daemon.quiet import Quiet
from lightvm.daemon.rehearsal import Rehearsal, Rehearser
from lightvm.daemon.shell_maker import Shell
from lightvm.daemon.shells import Pools, ShellPool
from lightvm.daemon.understanding import Understanding, Understood
from lightvm.model import CreateRequest

MOST_TICKETS = 1024
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


class Line(msgspec.Struct, frozen=True):
    """What may be taken just now by those who make a call; several calls may have the same, by its `number`."""

    call: bytes
    rehearsals: list[Rehearsal]
    number: int


class Tickets:
    """Makes tickets for what is asked for again and again, and knows which of them may be taken."""

    def __init__(
        self, pools: Pools, rehearser: Rehearser, understanding: Understanding, quiet: Quiet
    ) -> None:
        self._quiet = quiet
        self._rehearser = rehearser
        self._understanding = understanding
        self._lately: deque[bytes] = deque(maxlen=HEARD_LATELY)
        self._demands: dict[bytes, Demand] = {}
        """By the call that asks for it; several calls may ask for the same."""
        self._wanted = trio.Event()
        pools.on_added = self.want

    # Making them

    def note(self, call: bytes, request: CreateRequest) -> None:
        """Note a call that has been answered with a domain from a pool. Part of the hot path."""
        if request.name is not None or len(call) > LONGEST_CALL:
            return
        if call in self._demands:
            self.want()
        elif call in self._lately:
            self._learn(call, request)
        else:
            self._lately.append(call)

    def want(self) -> None:
        """Note that shells may lack tickets."""
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
        self.want()

    def _demand_for(self, pool: ShellPool) -> Demand | None:
        return next((d for d in self._demands.values() if d.pool is pool), None)

    def _drop(self, demand: Demand | None) -> None:
        self._demands = {call: d for call, d in self._demands.items() if d is not demand}

    async def make_tickets(self) -> None:
        """Make tickets for the shells that have none, for ever, whenever no create has come for a while."""
        while True:
            await self._wanted.wait()
            await self._quiet.wait()  # to look at all shells takes long, too
            self._wanted = trio.Event()
            for demand in set(self._demands.values()):
                await self._make_some(demand)

    async def _make_some(self, demand: Demand) -> None:
        for number, shell in enumerate(list(islice(reversed(demand.pool.shells), MOST_TICKETS))):
            if shell.uuid not in demand.tickets:
                await self._quiet.wait()
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

    def count(self, pool: ShellPool) -> int:
        """Return how many of a pool's shells have a ticket."""
        demand = self._demand_for(pool)
        return sum(shell.uuid in demand.tickets for shell in pool.shells) if demand else 0

    # What may be taken

    def on_offer(self, most: int) -> list[Line]:
        """Return for each call what may be taken just now, at most so often. Part of the hot path."""
        lined_up: dict[int, tuple[list[Rehearsal], int]] = {}
        for demand in self._demands.values():
            if id(demand) not in lined_up:
                lined_up[id(demand)] = self._line_up(demand, most), len(lined_up)
        lines = [Line(call, *lined_up[id(demand)]) for call, demand in self._demands.items()]
        return [line for line in lines if line.rehearsals]

    def extend(self, line: Line, taken: int) -> Rehearsal | None:
        """Put one more at the end of a line of which so many were taken; None where there is none."""
        demand, ahead = self._demands[line.call], len(line.rehearsals) - taken
        shells = demand.pool.shells
        rehearsal = self._find(demand, shells[-1 - ahead]) if ahead < len(shells) else None
        if rehearsal is not None:
            line.rehearsals.append(rehearsal)
        return rehearsal

    def line_for(self, request: CreateRequest, most: int) -> list[Rehearsal]:
        """Return what may be taken just now by one who asks for this, at most so many times."""
        demand = next((d for d in self._demands.values() if d.meant.request == request), None)
        return [] if demand is None else self._line_up(demand, most)

    def _line_up(self, demand: Demand, most: int) -> list[Rehearsal]:
        """Return what was rehearsed with the shells that would be taken next, for as many as it was in a row."""
        line = []
        for shell in islice(reversed(demand.pool.shells), most):
            if (rehearsal := self._find(demand, shell)) is None:
                break
            line.append(rehearsal)
        return line

    def _find(self, demand: Demand, shell: Shell) -> Rehearsal | None:
        """Return what was rehearsed with a shell, where it could come to pass."""
        rehearsal = demand.tickets.get(shell.uuid)
        if rehearsal is None or self._rehearser.is_good(rehearsal):
            return rehearsal
        del demand.tickets[shell.uuid]  # it is made anew
        return None
