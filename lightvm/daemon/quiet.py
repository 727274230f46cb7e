"""Quiet times: what can wait waits until no create has been served for a while."""

from __future__ import annotations

import trio

QUIET_SECONDS = 0.05
"""How long no create must have been served for the daemon to count as idle."""


class Quiet:
    """Knows when creates are served, and lets others wait for a pause between them."""

    def __init__(self) -> None:
        self._requests = 0
        self._stirred = False
        """Whether a create was served since somebody last looked."""
        self._since = float("-inf")

    def begin_request(self) -> None:
        """Note that a create is being served."""
        self._requests += 1

    def end_request(self) -> None:
        """Note that it is served."""
        self._requests -= 1
        self._stirred = True

    def note_request(self) -> None:
        """Note that a create was served. Part of the hot path."""
        self._stirred = True

    async def wait(self, seconds: float = QUIET_SECONDS) -> None:
        """Wait until no create has been served for that long.

        Only who waits looks at the clock, so that it may have been quiet for a little longer.
        """
        await trio.lowlevel.checkpoint()
        while True:
            now = trio.current_time()
            if self._requests or self._stirred:
                self._stirred = False
                self._since = now
            if now >= self._since + seconds:
                return
            await trio.sleep_until(self._since + seconds)
