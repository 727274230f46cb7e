"""When a create got how far, and what its caller is told of that."""

from __future__ import annotations

import msgspec

from lightvm.model import Phases

NO_PHASES = Phases(prepare_us=0, load_us=0, journal_us=0, unpause_us=0, total_us=0)


class Stopwatch(msgspec.Struct):
    """Moments of one create, in nanoseconds.

    On many Xen hosts a look at the clock is a system call, so most of them come with what the engine did.
    """

    begun: int
    prepared: int
    loaded: int = 0
    journalled: int = 0
    running: int = 0
    ready: int = 0

    def phases(self) -> Phases:
        """Return the phases so far, in microseconds."""
        return Phases(
            prepare_us=(self.prepared - self.begun) // 1000,
            load_us=(self.loaded - self.prepared) // 1000,
            journal_us=(self.journalled - self.loaded) // 1000,
            unpause_us=(self.running - self.journalled) // 1000,
            ready_us=(self.ready - self.running) // 1000 if self.ready else None,
            total_us=((self.ready or self.running) - self.begun) // 1000,
        )
