"""A counter for long work, on the last line of a terminal."""

from __future__ import annotations

import sys
from typing import Self


class Progress:
    """How much of `total` is done, on stderr where that is a terminal and nowhere else.

    It takes itself away before anything else is printed and at the end of its block.
    """

    def __init__(self, total: int) -> None:
        """Show nothing yet."""
        self._total = total
        self._visible = False
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Self:
        """Show that nothing is done yet."""
        self.show(0)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away, also after an error."""
        self.hide()

    def show(self, done: int) -> None:
        """Show how much is done."""
        if self._terminal:
            print(f"\r\x1b[K{done} of {self._total}", end="", file=sys.stderr, flush=True)
            self._visible = True

    def hide(self) -> None:
        """Take the line away."""
        if self._visible:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._visible = False
