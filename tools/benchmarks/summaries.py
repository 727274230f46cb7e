"""What a list of values comes to, and what all values of a run come to, as a table."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.rows import YARDSTICK, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Quantiles of so many values."""

    n: int
    p50: float
    p90: float
    p99: float


class Kind(NamedTuple):
    """What values have to have in common to be summed up."""

    experiment: str
    contender: str
    metric: str
    unit: str

    @property
    def name(self) -> str:
        """Itself, in words."""
        return f"{self.experiment}: {self.contender}, {self.metric}"


def summarize(values: Sequence[float]) -> Summary:
    """Return the quantiles of at least one value."""
    if len(values) == 1:
        return Summary(n=1, p50=values[0], p90=values[0], p99=values[0])
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return Summary(n=len(values), p50=cuts[49], p90=cuts[89], p99=cuts[98])


def group(rows: Iterable[Row]) -> dict[Kind, list[float]]:
    """Return the values of each kind, in the order in which they first come."""
    grouped: dict[Kind, list[float]] = defaultdict(list)
    for row in rows:
        grouped[Kind(row.experiment, row.contender, row.metric, row.unit)].append(row.value)
    return grouped


def find_yardsticks(rows: Iterable[Row]) -> dict[str, float]:
    """Return the medians of fork+exec, in ms, of the experiments that have it; of others the median of all."""
    grouped = group(rows)
    found = {
        kind.experiment: values
        for kind, values in grouped.items()
        if (kind.contender, kind.metric) == (YARDSTICK, "create")
    }
    if not found:
        return {}
    of_all = [value for values in found.values() for value in values]
    experiments = {kind.experiment for kind in grouped}
    return {name: statistics.median(found.get(name, of_all)) for name in experiments}


def plain(value: float, _position: object = None) -> str:
    """Return a number as people write it: three digits or all before the point, and no power of ten."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def render_summary(rows: Sequence[Row]) -> str:
    """Return the quantiles of every kind as text for a terminal, times beside the yardstick."""
    yardsticks = find_yardsticks(rows)
    lines = [f"{'':50} {'p50':>10} {'p99':>10} {'unit':>8} {'n':>5} {'x fork+exec':>12}"]
    for kind, found in group(rows).items():
        each = summarize(found)
        line = f"{kind.name[:50]:50} {plain(each.p50):>10} {plain(each.p99):>10} {kind.unit:>8} {each.n:5}"
        yardstick = yardsticks.get(kind.experiment)
        against = f" {each.p50 / yardstick:12.3f}" if yardstick and kind.unit == "ms" else ""
        lines.append(line + against)
    return "\n".join(lines)
