"""Which domains that have ended are being given back, and those who wait for what these still hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import trio

from lightvm import errors
from lightvm.daemon.domains import LiveDomain

T = TypeVar("T")
NO_ADDRESS = (errors.AddressTaken, errors.OutOfAddresses)

PAUSE_SECONDS = 0.02
"""Burials begin when no domain has ended for so long: they would take turns with the calls that end the others."""
MOST_SECONDS, MOST_DUE = 1.0, 256
"""They begin in any case after so long, and with so many; see also `lightvm.daemon.lifecycle.MOST_BURIALS`."""

AT_ONCE = 32
"""So many are given back at once, the others in their turn: what bounds the time of each is not to run before that."""


class Burials:
    """Has domains buried in the background. What that is, `bury` knows."""

    def __init__(
        self, bury: Callable[[LiveDomain], Awaitable[None]], background: trio.Nursery
    ) -> None:
        self._bury = bury
        self._background = background
        self.under_way: dict[str, LiveDomain] = {}
        """Those that are being given back just now, or as soon as their turn comes, by UUID."""
        self._due: deque[LiveDomain] = deque()
        self._wake = trio.Event()
        self._wanted = trio.Event()
        """Set where somebody needs what a domain holds that has ended."""
        self._done = trio.lowlevel.ParkingLot()
        self._turns = trio.CapacityLimiter(AT_ONCE)

    def note(self, domain: LiveDomain) -> None:
        """Have a domain buried, unless that is under way."""
        if domain.record.uuid not in self.under_way:
            self.under_way[domain.record.uuid] = domain
            self._due.append(domain)
            self._wake.set()

    async def begin_noted(self) -> None:
        """Begin them, for ever: a task for each costs more than to end a domain, and nobody waits for that."""
        while True:
            await self._wake.wait()
            await self._stand_back()
            self._wake, self._wanted = trio.Event(), trio.Event()
            while self._due:
                self._background.start_soon(self._carry_out, self._due.popleft())

    async def _stand_back(self) -> None:
        """Let more end first, as long as they do and nobody needs what those hold."""
        noted = 0
        with trio.move_on_after(MOST_SECONDS):
            while noted < len(self._due) < MOST_DUE:
                noted = len(self._due)
                with trio.move_on_after(PAUSE_SECONDS):
                    await self._wanted.wait()

    async def _carry_out(self, domain: LiveDomain) -> None:
        try:
            async with self._turns:
                await self._bury(domain)
        finally:
            del self.under_way[domain.record.uuid]
            self._done.unpark_all()

    async def wait_for_one(self) -> bool:
        """Wait until some domain that has ended holds nothing any more; return False at once where there is none."""
        if not self.under_way:
            return False
        self._wanted.set()
        await self._done.park()
        return True

    async def finish(self, patience: float) -> int:
        """Wait until none is under way, as long as one is done every so many seconds; return how many are left."""
        while self.under_way:
            with trio.move_on_after(patience) as waiting:
                await self.wait_for_one()
            if waiting.cancelled_caught:
                break
        return len(self.under_way)

    async def retry_after_each(self, attempt: Callable[[], T], seconds: float) -> T:
        """Return what an attempt returns that needs addresses; those of domains that have ended are waited for."""
        try:
            return attempt()
        except NO_ADDRESS:
            with trio.move_on_after(seconds):
                while await self.wait_for_one():
                    with suppress(*NO_ADDRESS):
                        return attempt()
        return attempt()
