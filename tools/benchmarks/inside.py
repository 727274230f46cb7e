"""Runs experiments on a Xen host, as root, in one interpreter: rows and what the run says of itself go to a directory.

`python -m benchmarks.inside --to DIRECTORY EXPERIMENT...`, with the project's Python.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from benchmarks.experiments import Experiment, find_experiment
from benchmarks.machine import describe_machine
from benchmarks.record import Budget, LeftBehindError, Record
from benchmarks.rows import Outcome, Run, write_run

GRACE = 1.5
"""An experiment that takes this many times its limit, and `GRACE_SECONDS`, is given up.

Its daemon's end, which gives back whatever is left in its pools, is not in the limit, and takes minutes on a slow host.
"""
GRACE_SECONDS = 600.0
UNFINISHED = "the run ended before it did"
NOT_RUN = "not run: the host is not as it was before the run"


class GivenUp(Exception):
    """An experiment took far longer than it may."""


def run_experiments(
    directory: Path,
    names: list[str],
    scale: str,
    machine: dict[str, str],
    patience: float = 1.0,
) -> Run:
    """Run experiments one after the other; one that fails does not keep the others from their turn.

    Unless it leaves something behind: then nothing more is measured. Their limits are `patience` times as long.
    """
    directory.mkdir(parents=True, exist_ok=True)
    run = Run(scale=scale, machine=describe_machine(**machine))
    clean = True
    for name in names:
        outcome = Outcome(experiment=name, failure=UNFINISHED if clean else NOT_RUN)
        run.outcomes.append(outcome)
        write_run(directory, run)
        if clean:
            clean = run_one(directory, find_experiment(name), outcome, scale, patience)
            write_run(directory, run)
    return run


def run_one(
    directory: Path, experiment: Experiment, outcome: Outcome, scale: str, patience: float = 1.0
) -> bool:
    """Run one experiment; its failure is part of its outcome. Returns False where it has left something behind."""
    seconds = experiment.seconds(scale, patience)
    record = Record(directory, outcome, scale=scale, budget=Budget(seconds))
    record.say(experiment.about)
    begun = time.monotonic()
    clean = True
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(GRACE * seconds + GRACE_SECONDS))
    try:
        importlib.import_module(f"benchmarks.experiments.{experiment.name}").measure(record)
        outcome.failure = None
    except Exception as exc:  # whatever it was, the report says so, and the others are still run
        traceback.print_exc()
        outcome.failure = f"{type(exc).__name__}: {exc}"[:500]
        clean = not isinstance(exc, LeftBehindError)
    finally:
        signal.alarm(0)
        outcome.seconds = round(time.monotonic() - begun, 1)
    record.say(f"took {outcome.seconds:.0f} s" if outcome.failure is None else "FAILED")
    return clean


def give_up(_signum: int, _frame: FrameType | None) -> None:
    """Unwind an experiment, so that it cleans up behind itself."""
    raise GivenUp("it took far longer than its limit")


def main() -> int:
    """Run what the command line says; return 1 where an experiment has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--scale", choices=["small", "paper"], default="small")
    parser.add_argument("--patience", type=float, default=1.0)
    parser.add_argument("--machine", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("experiments", nargs="+")
    options = parser.parse_args()
    machine = dict(pair.split("=", 1) for pair in options.machine)
    gc.disable()  # it would be in what clients measure now and then; an experiment leaves few cycles
    run = run_experiments(options.to, options.experiments, options.scale, machine, options.patience)
    return 1 if any(outcome.failure for outcome in run.outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
