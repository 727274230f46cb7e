"""What the project set itself, and whether a run has met it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.rows import YARDSTICK, Row, select, values
from benchmarks.summaries import summarize

Rows = Sequence[Row]
EARLY, LATE = range(100), range(900, 1000)
"""Of the thousand guests, the first hundred and the last: by how many ran before each."""

TENTH, TWO_HUNDREDTH = range(5, 15), range(195, 205)
"""Guests about the tenth, and about the 200th."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One measure, and its limit: at most, or at least where `at_least`."""

    measure: str
    of: Callable[[Rows], float]
    limit: float
    at_least: bool = False
    stretch: float | None = None
    digits: int = 3
    unit: str = ""

    @property
    def goal(self) -> str:
        """The limit, in words."""
        words = f"{'≥' if self.at_least else '≤'} {self.limit:,.{self.limit_digits}f}{self.unit}"
        return words if self.stretch is None else f"{words} (stretch {self.stretch:g})"

    @property
    def limit_digits(self) -> int:
        """How many digits the limit is written with."""
        return 0 if self.limit == int(self.limit) else 2

    def is_met(self, value: float) -> bool:
        """Whether a value is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A target and the value of a run; None where the run has not measured it."""

    target: Target
    value: float | None

    @property
    def shown(self) -> str:
        """The value, in words."""
        if self.value is None:
            return "not measured"
        return f"{self.value:,.{self.target.digits}f}{self.target.unit}"

    @property
    def met(self) -> str:
        """Whether the target is met, in a word."""
        if self.value is None:
            return "unknown"
        if not self.target.is_met(self.value):
            return "missed"
        stretch = self.target.stretch
        return "met, stretch too" if stretch is not None and self.value <= stretch else "met"


class NotMeasured(LookupError):
    """A run lacks what a target is made of."""


def find(rows: Rows, experiment: str, contender: str, metric: str) -> list[float]:
    """Return the values of one kind; raises `NotMeasured`."""
    if not (found := values(rows, experiment, contender, metric)):
        raise NotMeasured(f"{experiment}: {contender}, {metric}")
    return found


def middle(experiment: str, contender: str, metric: str = "create") -> Callable[[Rows], float]:
    """Return a function for the median of one kind."""
    return lambda rows: median(find(rows, experiment, contender, metric))


def quotient(of: Callable[[Rows], float], to: Callable[[Rows], float]) -> Callable[[Rows], float]:
    """Return a function for a quotient."""
    return lambda rows: of(rows) / to(rows)


def growth(experiment: str, contender: str, early: range, late: range) -> Callable[[Rows], float]:
    """Return a function for the median of late guests against that of early ones; the median where there are rows."""

    def compare(rows: Rows) -> float:
        ratios = []
        for row in split_rows(select(rows, experiment, contender, "create")):
            few, many = ([row[n] for n in numbers if n in row] for numbers in (early, late))
            if few and many:
                ratios.append(median(many) / median(few))
        if not ratios:
            raise NotMeasured(f"guests {late.start + 1} to {late.stop:,}")
        return median(ratios)

    return compare


def split_rows(found: Rows) -> list[dict[int, float]]:
    """Return the values of each row, by how many guests ran: a new row begins where these are no more than before."""
    rows: list[dict[int, float]] = []
    before = math.inf
    for each in sorted(found, key=lambda row: row.number):
        if each.running <= before:
            rows.append({})
        rows[-1][each.running] = each.value
        before = each.running
    return rows


def daemon_memory(rows: Rows) -> float:
    """Return by how many KiB the daemon has grown for each domain, from the first look at it to the last."""
    looks = sorted((r.running, r.value) for r in select(rows, "density", "lightvmd", "memory"))
    if len(looks) < 2 or looks[0][0] == looks[-1][0]:
        raise NotMeasured("density: lightvmd, memory")
    (few, before), (many, after) = looks[0], looks[-1]
    return (after - before) / (many - few)


def tail(experiment: str, contender: str) -> Callable[[Rows], float]:
    """Return a function for the 99th percentile of creates."""
    return lambda rows: summarize(find(rows, experiment, contender, "create")).p99


POOLED = middle("create", "noxs+split")
TARGETS = (
    Target(
        measure="create from the pool, one vif, request to ready / fork+exec+wait of /bin/true",
        of=quotient(POOLED, middle("create", YARDSTICK)),
        limit=0.08,
        stretch=0.05,
    ),
    Target(
        measure="`xl create` of the same guest and vif / the same create",
        of=quotient(middle("create", "xl"), POOLED),
        limit=1000,
        at_least=True,
        digits=0,
    ),
    Target(
        measure="`crun run` of a minimal container / the same create",
        of=quotient(middle("create", "crun run"), POOLED),
        limit=50,
        at_least=True,
        digits=0,
    ),
    Target(
        measure="creates of guests 901 to 1,000 / 1 to 100",
        of=growth("toolstacks", "noxs+split", EARLY, LATE),
        limit=1.10,
    ),
    Target(
        measure="the same without a vif, the middle one of several rows",
        of=growth("growth", "noop, noxs+split", EARLY, LATE),
        limit=1.10,
    ),
    Target(
        measure="99th percentile / median, one client",
        of=quotient(tail("create", "noxs+split"), POOLED),
        limit=3,
        digits=2,
    ),
    Target(
        measure="`lvm create`, the whole process / `/bin/true`, the whole process",
        of=quotient(middle("create", "lvm create"), middle("create", YARDSTICK)),
        limit=1.5,
        digits=2,
    ),
    Target(
        measure="CreateMany of 100, for each / a single create",
        of=quotient(middle("create", "noxs+split", "create of many"), POOLED),
        limit=0.35,
    ),
    Target(
        measure="32 clients at once: creates a second / of one client",
        of=quotient(
            middle("storm", "32 clients", "throughput"), middle("storm", "1 client", "throughput")
        ),
        limit=1.0,
        at_least=True,
        digits=2,
    ),
    Target(
        measure="32 clients at once: 99th percentile / median of one client",
        of=quotient(tail("storm", "32 clients"), middle("storm", "1 client")),
        limit=40,
        digits=1,
    ),
    Target(
        measure="destroy, acknowledged / create",
        of=quotient(middle("create", "noxs+split", "destroy"), POOLED),
        limit=1.0,
        digits=2,
    ),
    Target(
        measure="domains alive at once, all listed as ready",
        of=lambda rows: max(find(rows, "density", "noop, noxs+split", "listed as ready")),
        limit=8000,
        at_least=True,
        digits=0,
    ),
    Target(
        measure="of these left behind, when all were destroyed",
        of=lambda rows: max(find(rows, "density", "noop, noxs+split", "left behind")),
        limit=0,
        digits=0,
    ),
    Target(
        measure="memory of the daemon for each domain",
        of=daemon_memory,
        limit=4,
        digits=2,
        unit=" KiB",
    ),
    Target(
        measure="memory of a noop domain of 1 MiB, with what Xen and dom0 need for it",
        of=middle("standing", "noop, 1 MiB", "memory"),
        limit=1.3,
        digits=2,
        unit=" MiB",
    ),
    Target(
        measure="`xl create` / a create in XenStore mode without a pool, until the guest runs",
        of=quotient(middle("create", "xl"), middle("create", "xs", "unpaused")),
        limit=20,
        at_least=True,
        digits=1,
    ),
    Target(
        measure="`xl create` / a create in XenStore mode from the pool",
        of=quotient(middle("toolstacks", "xl"), middle("toolstacks", "xs+split")),
        limit=100,
        at_least=True,
        digits=0,
    ),
    Target(
        measure="in XenStore mode, creates about the 200th guest / about the 10th",
        of=growth("toolstacks", "xs+split", TENTH, TWO_HUNDREDTH),
        limit=1.3,
        digits=2,
    ),
)


def evaluate(rows: Rows) -> list[Verdict]:
    """Return what a run says of each target."""
    verdicts = []
    for target in TARGETS:
        try:
            value: float | None = target.of(rows)
        except NotMeasured:
            value = None
        verdicts.append(Verdict(target=target, value=value))
    return verdicts
