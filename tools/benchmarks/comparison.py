"""Two runs, or two revisions measured in turn, beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.rows import Row
from benchmarks.summaries import Kind, group

FEWEST = 5
"""With fewer values on a side nothing can be said of it."""
SEED = 2017
RESAMPLES = 4000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio of two medians, with the interval that holds it with the given confidence."""

    value: float
    low: float
    high: float

    @property
    def is_change(self) -> bool:
        """Whether the interval leaves 1 out."""
        return not self.low <= 1.0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The medians of one kind in A and in B, of `n` values each."""

    kind: Kind
    a: float
    b: float
    n: tuple[int, int]
    ratio: Ratio | None


def compare(a: Iterable[Row], b: Iterable[Row]) -> list[Difference]:
    """Return what both have measured, in the order of A; without a ratio where one has too few values."""
    ours, theirs = group(a), group(b)
    return [
        Difference(
            kind=kind,
            a=median(values),
            b=median(theirs[kind]),
            n=(len(values), len(theirs[kind])),
            ratio=bootstrap_ratio(theirs[kind], values),
        )
        for kind, values in ours.items()
        if kind in theirs
    ]


def bootstrap_ratio(of: Sequence[float], to: Sequence[float]) -> Ratio | None:
    """Return the ratio of the medians of `of` and `to`, with its interval by the percentile bootstrap.

    The same values give the same interval, always. None where one has too few values, or zeros in the middle.
    """
    if min(len(of), len(to)) < FEWEST or not median(to):
        return None
    generator = np.random.default_rng(SEED)
    tops, bottoms = (
        np.median(generator.choice(values, size=(RESAMPLES, len(values))), axis=1)
        for values in (of, to)
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(tops / bottoms, (tail, 1 - tail))
    return Ratio(value=median(of) / median(to), low=float(low), high=float(high))


def render(differences: list[Difference]) -> str:
    """Return a table of B against A."""
    lines = [f"{'':52} {'A':>10} {'B':>10} {'B/A':>7}  95 % interval   n"]
    for each in differences:
        line = f"{each.kind.name[:52]:52} {each.a:10.4g} {each.b:10.4g}"
        if each.ratio is not None:
            mark = "*" if each.ratio.is_change else " "
            line += f" {each.ratio.value:7.3f} {mark}{each.ratio.low:.3f} to {each.ratio.high:.3f}"
        else:
            line += f" {'-':>7}  too few values "
        lines.append(f"{line}  {each.n[0]}, {each.n[1]}")
    lines.append("* the interval leaves 1 out; B/A below 1: B takes less")
    return "\n".join(lines)
