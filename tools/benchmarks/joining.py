"""Experiments that ran one by one, as one run: where all of them together take longer than there is.

What is compared was still measured side by side, since each experiment has its own contenders and its own yardstick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import ROWS, BadRows, Run, read_rows, read_run, write_rows, write_run


def join_runs(directories: Sequence[Path], to: Path) -> None:
    """Write one run that has the experiments of several, which are of one scale and one machine.

    Raises `BadRows`, and writes nothing, where they are not, or where two have the same experiment.
    """
    runs = {directory: read_run(directory) for directory in directories}
    first, whole = directories[0], runs[directories[0]]
    joined = Run(scale=whole.scale, machine={**whole.machine, "runs": str(len(runs))})
    found: dict[str, Path] = {}
    for directory, run in runs.items():
        if run.scale != whole.scale:
            raise BadRows(f"{directory} is of scale {run.scale}, {first} of {whole.scale}")
        for key in whole.machine.keys() | run.machine.keys():
            mine, others = run.machine.get(key), whole.machine.get(key)
            if mine != others:
                raise BadRows(f"{key}: {mine!r} in {directory}, {others!r} in {first}")
        for outcome in run.outcomes:
            if (former := found.setdefault(outcome.experiment, directory)) is not directory:
                raise BadRows(f"{outcome.experiment} is in {directory} and in {former}")
            joined.outcomes.append(outcome)
    rows = [row for directory in runs for row in read_rows(directory)]
    to.mkdir(parents=True, exist_ok=True)
    write_rows(to / ROWS, rows)
    write_run(to, joined)
