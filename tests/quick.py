"""Runs async tests under a clock that jumps ahead whenever all tasks wait, so that no wait costs real time.

Nothing may be done in a worker thread meanwhile: see the fixture `threadless`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing


def run_quick(
    test: Callable[[], Awaitable[object]],
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> object:
    """Run an async test under a clock that jumps."""
    clock = clock or trio.testing.MockClock(autojump_threshold=0)
    return trio.run(test, clock=clock, instruments=instruments)


def make_quick(items: list[pytest.Item], directory: Path) -> None:
    """Let the async tests below a directory run quickly, but for those that say otherwise."""
    for item in items:
        if not item.path.is_relative_to(directory) or not isinstance(item, pytest.Function):
            continue
        if inspect.iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.trio(run=run_quick))
