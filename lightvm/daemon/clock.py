"""The time of day, without asking for it.

On a Xen host whose clock source is Xen's own, which is the default, reading a clock is a system call. A create has the
moments of its phases anyway; what of them is told as a time of day is worked out.
"""

from __future__ import annotations

import time

import trio

ADJUST_SECONDS = 1.0
"""How often the time of day is looked at: for so long it may be wrong after somebody has set it."""


class WallClock:
    """Turns moments of `time.perf_counter_ns` into the time of day."""

    def __init__(self) -> None:
        self.offset_ns = 0
        """What leads from a moment to the time of day."""
        self.adjust()

    def adjust(self) -> None:
        """Look at the time of day."""
        self.offset_ns = time.time_ns() - time.perf_counter_ns()

    async def keep_adjusted(self) -> None:
        """Look at it again and again, for ever."""
        while True:
            self.adjust()
            await trio.sleep(ADJUST_SECONDS)

    def at(self, moment_ns: int) -> float:
        """Return the time of day at a moment, in seconds since 1970, to the microsecond."""
        return (moment_ns + self.offset_ns) // 1000 / 1e6
