"""Where an experiment puts what it measures, and how it learns how long it may go on."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TypeVar

from benchmarks.rows import ROWS, Outcome, Row, append_rows, write_rows

T = TypeVar("T")


class LeftBehindError(Exception):
    """Something of an experiment is left on the host, and would be in whatever is measured there next."""


class Budget:
    """A time limit that work asks after, so that it ends in good order: the report says how far it got."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """How many seconds are left, at least 0."""
        return max(0.0, self.end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether work should end."""
        return self.left <= 0

    def part(self, seconds: float) -> Budget:
        """Return a limit for a part of the work, within this one."""
        return Budget(min(seconds, self.left))

    def share(self, part: float) -> Budget:
        """Return a limit for a part of the work: so much of what is left, a number up to 1."""
        return Budget(part * self.left)


class Record:
    """What one experiment measures, written down as it comes, so that nothing is lost where it fails."""

    def __init__(self, directory: Path, outcome: Outcome, *, scale: str, budget: Budget) -> None:
        self.file = directory / ROWS
        self.outcome = outcome
        self.scale = scale
        self.budget = budget
        self._counts: Counter[tuple[str, str]] = Counter()
        if not self.file.exists():
            write_rows(self.file, [])

    def pick(self, *, small: T, paper: T) -> T:
        """Return the size that goes with this run's scale."""
        return small if self.scale == "small" else paper

    def add(
        self, contender: str, metric: str, *values: float, unit: str = "ms", running: int = 0
    ) -> None:
        """Write down values of one kind; `running` is how many instances there were."""
        rows = []
        for value in values:
            number = self._counts[contender, metric]
            self._counts[contender, metric] += 1
            value = float(f"{value:.6g}")  # more is noise, and files that are kept
            rows.append(
                Row(self.outcome.experiment, contender, running, metric, number, value, unit)
            )
        append_rows(self.file, rows)

    def note(self, text: str) -> None:
        """Say what a reader of the figures must know."""
        self.outcome.notes.append(text)
        self.say(text)

    def say(self, text: str) -> None:
        """Print one line of progress."""
        left = f"{self.budget.left:.0f} s left"
        print(f"bench: {self.outcome.experiment}: {text} ({left})", file=sys.stderr, flush=True)
