"""The command line of the benchmarks: `tools/bench VERB …`."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

from xenlab.cache import cache_root
from xenlab.errors import LabError
from xenlab.interrupts import Interrupted, unwind_on_signals
from xenlab.lab import Lab
from xenlab.progress import say
from xenlab.suites import DEFAULT_SUITE, SUITES

from benchmarks.comparison import compare, render
from benchmarks.counting import count_in_memory
from benchmarks.experiments import EXPERIMENTS
from benchmarks.joining import join_runs
from benchmarks.report import render_verdicts, write_report
from benchmarks.revisions import compare_revisions
from benchmarks.rows import BadRows, read_rows
from benchmarks.runner import PYTHON, measure_here, measure_in_lab
from benchmarks.summaries import render_summary

NAMES = tuple(each.name for each in EXPERIMENTS)
Verb = Callable[[argparse.Namespace], None]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = make_parser().parse_args(arguments)
    verb: Verb = options.verb
    unwind_on_signals()
    try:
        verb(options)
    except (LabError, BadRows, OSError) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(f"bench: interrupted: {stop}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Run experiments, and print what they have measured."""
    directory = results_directory(options)
    try:
        measure(options, options.experiments, directory)
    finally:
        finish(directory)


def paper(options: argparse.Namespace) -> None:
    """Run all experiments, write the report, print the targets."""
    directory = results_directory(options)
    try:
        measure(options, NAMES, directory)
    finally:
        if finish(directory):
            print(render_verdicts(read_rows(directory)))


def count(options: argparse.Namespace) -> None:
    """Count the instructions of creates in memory: no lab, and the same each time."""
    directory = results_directory(options)
    count_in_memory(directory)
    print(render_summary(read_rows(directory)))
    say(f"the rows are in {directory}")


def report(options: argparse.Namespace) -> None:
    """Write report and pictures again, from the files of a run."""
    print(write_report(options.directory))
    print(render_verdicts(read_rows(options.directory)))


def join(options: argparse.Namespace) -> None:
    """Make one run of several, each of which has some of the experiments, and write its report."""
    join_runs(options.directories, options.to)
    if finish(options.to):
        print(render_verdicts(read_rows(options.to)))


def compare_runs(options: argparse.Namespace) -> None:
    """Compare two runs, or two revisions."""
    if not options.revisions:
        a, b = (read_rows(Path(each)) for each in (options.a, options.b))
        print(render(compare(a, b)))
        return
    names = options.experiments or ["create"]
    with open_lab(options) as lab:
        directory = results_directory(options)
        revisions = (options.a, options.b)
        print(render(compare_revisions(lab, revisions, names, options.rounds, directory)))
    say(f"the rows are in {directory}")


def measure(options: argparse.Namespace, names: list[str] | tuple[str, ...], to: Path) -> None:
    """Run experiments where the options say."""
    say(f"results go to {to}")
    if options.real_host:
        measure_here(options.python, names, options.scale, to, options.patience)
        return
    with open_lab(options, preallocated=options.scale == "paper") as lab:
        lab.install()
        measure_in_lab(lab, names, options.scale, to, options.patience)


def open_lab(options: argparse.Namespace, *, preallocated: bool = False) -> Lab:
    """Return the lab that the options describe, to be entered."""
    kind = "bench-count" if options.instructions else "bench"
    return Lab(
        f"{kind}-{options.suite}",
        suite=options.suite,
        cpus=1 if options.instructions else 2,
        instructions=options.instructions,
        one_thread=options.one_thread,
        preallocated=preallocated and not options.instructions,
    )


def finish(directory: Path) -> bool:
    """Write the report of what there is, and print a summary; return whether there was anything."""
    try:
        rows = read_rows(directory)
        page = write_report(directory)
    except (BadRows, OSError) as exc:
        say(f"no report: {exc}")
        return False
    print(render_summary(rows))
    say(f"the report is {page}")
    return True


def results_directory(options: argparse.Namespace) -> Path:
    """Return where results go, by default a new directory of the cache."""
    chosen: Path | None = options.to
    return chosen or cache_root() / "bench" / time.strftime("%Y-%m-%d-%H%M%S")


def make_parser() -> argparse.ArgumentParser:
    """Describe the whole command line."""
    about = "\n".join(f"  {each.name:12} {each.about}" for each in EXPERIMENTS)
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description="Measure side by side, in one lab or on one Xen host.",
        epilog=f"experiments:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, verb: Verb) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=verb.__doc__, description=verb.__doc__)
        command.set_defaults(verb=verb)
        return command

    some = add("run", run)
    some.add_argument("experiments", nargs="+", type=experiment, metavar="EXPERIMENT")
    some.add_argument("--scale", choices=["small", "paper"], default="small")
    whole = add("paper", paper)
    whole.add_argument("--scale", choices=["small", "paper"], default="paper")
    for command in (some, whole):
        add_host_options(command)
        command.add_argument(
            "--patience",
            type=factor,
            default=1.0,
            metavar="N",
            help="make the time limits N times as long, for a slow machine",
        )
        command.add_argument(
            "--real-host", action="store_true", help="run on this machine's Xen, as root"
        )
        command.add_argument(
            "--python", default=PYTHON, help="of the project, on a real host (%(default)s)"
        )
    add("count", count).add_argument(
        "--to", type=Path, help="directory for the results; a new one of the cache"
    )
    add("report", report).add_argument("directory", type=Path, help="of a run")
    parts = add("join", join)
    parts.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="of a run")
    parts.add_argument("--to", type=Path, required=True, help="directory for the whole")
    two = add("compare", compare_runs)
    two.add_argument("a", help="directory of a run, or a revision")
    two.add_argument("b", help="another")
    two.add_argument(
        "experiments", nargs="*", type=experiment, metavar="EXPERIMENT", help="with --revisions"
    )
    two.add_argument("--revisions", action="store_true", help="measure two revisions in turn")
    two.add_argument("--rounds", type=int, default=3, help="of each revision (%(default)s)")
    add_host_options(two)
    return parser


def experiment(text: str) -> str:
    """Return the name of an experiment that there is."""
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"no such experiment: {text!r}")
    return text


def factor(text: str) -> float:
    """Return a number that limits can be multiplied by."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: it takes a number above 0")
    return value


def add_host_options(command: argparse.ArgumentParser) -> None:
    """Add what says where to measure, and where results go."""
    command.add_argument("--suite", choices=list(SUITES), default=DEFAULT_SUITE)
    command.add_argument(
        "--to", type=Path, help="directory for the results; a new one of the cache"
    )
    command.add_argument(
        "--instructions",
        action="store_true",
        help="count instructions: slower, and the same each time",
    )
    command.add_argument(
        "--one-thread",
        action="store_true",
        help="run all processors of the lab in turn; for unikernels, not Linux",
    )


if __name__ == "__main__":
    sys.exit(main())
