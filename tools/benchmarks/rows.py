"""The one format of all measurements: a row of CSV for each value, and what a run says of itself in JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

ROWS, RUN = "rows.csv", "run.json"
YARDSTICK = "fork+exec"
"""The contender that all others are held against: fork+exec+wait of /bin/true, its metric "create"."""


class Row(NamedTuple):
    """One value: who was measured, with how many instances running, and the how-manieth value of its kind it is."""

    experiment: str
    contender: str
    running: int
    metric: str
    number: int
    value: float
    unit: str


class BadRows(ValueError):
    """A file of rows is not one."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one experiment: how long it took, why it failed if it did, and what a reader must know."""

    experiment: str
    seconds: float = 0.0
    failure: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Run:
    """What a run says of itself: where it ran, with what, and what became of its experiments."""

    scale: str
    machine: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def is_emulated(self) -> bool:
        """Whether only ratios count."""
        return self.machine.get("emulated") == "yes"

    @property
    def counts_instructions(self) -> bool:
        """Whether a nanosecond was an instruction."""
        return self.machine.get("instruction count") == "yes"


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file of rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(Row._fields)
    append_rows(path, rows)


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows behind those of a file."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def read_rows(directory: Path) -> list[Row]:
    """Return the rows of a run; raises `BadRows`.

    A last line without an end is left out: the run was cut off there.
    """
    text = (directory / ROWS).read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    reader = csv.reader(whole.splitlines())
    if tuple(next(reader, ())) != Row._fields:
        raise BadRows(f"{directory / ROWS}: the first line does not name the columns of a run")
    return [parse_row(directory / ROWS, number, words) for number, words in enumerate(reader, 2)]


def parse_row(path: Path, number: int, words: Sequence[str]) -> Row:
    """Return the row of one line; raises `BadRows`, which says where."""
    try:
        experiment, contender, running, metric, number_of, value, unit = words
        return Row(experiment, contender, int(running), metric, int(number_of), float(value), unit)
    except ValueError as exc:
        raise BadRows(f"{path}:{number}: {exc}") from exc


def write_run(directory: Path, run: Run) -> None:
    """Write what a run says of itself."""
    text = json.dumps(asdict(run), indent=2, ensure_ascii=False)
    (directory / RUN).write_text(text + "\n", encoding="utf-8")


def read_run(directory: Path) -> Run:
    """Return what a run says of itself; raises `BadRows`."""
    try:
        data = json.loads((directory / RUN).read_text(encoding="utf-8"))
        outcomes = [Outcome(**each) for each in data.pop("outcomes")]
        return Run(**data, outcomes=outcomes)
    except (ValueError, KeyError, TypeError) as exc:
        raise BadRows(f"{directory / RUN}: {exc!r}") from exc


def select(
    rows: Iterable[Row], experiment: str, contender: str | None = None, metric: str | None = None
) -> list[Row]:
    """Return the rows of an experiment, of one contender or metric where these are named."""
    return [
        row
        for row in rows
        if row.experiment == experiment
        and contender in (None, row.contender)
        and metric in (None, row.metric)
    ]


def values(
    rows: Iterable[Row], experiment: str, contender: str | None = None, metric: str | None = None
) -> list[float]:
    """Return the values of the rows that `select` finds."""
    return [row.value for row in select(rows, experiment, contender, metric)]
