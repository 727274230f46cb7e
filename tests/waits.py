"""Waits of tests that run under a mock clock: they have an end, and cost no real time."""

from __future__ import annotations

from collections.abc import Callable

import trio

PATIENCE = 120.0
"""Seconds of the mock clock after which what was waited for counts as not happening."""


async def until(reached: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    with trio.move_on_after(PATIENCE):
        while True:
            if reached():
                return
            await trio.sleep(0.01)
    raise AssertionError(f"did not happen within {PATIENCE:g} s")


async def settle(seconds: float = 5.0) -> None:
    """Let everything happen that happens by itself in that time."""
    await trio.sleep(seconds)
