"""What the user sees while something takes long: one line per step, with its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print one line of progress (on stderr: stdout belongs to the commands run in the lab)."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and tell how long it took when it is done."""
    live = sys.stderr.isatty()
    if live:
        print(f"lab: {title} ...", end="", file=sys.stderr, flush=True)
    started = time.monotonic()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        spent = time.monotonic() - started
        lead = "\rlab:" if live else "lab:"
        print(f"{lead} {title}: {outcome} {spent:.1f} s", file=sys.stderr, flush=True)
