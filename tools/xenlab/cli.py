"""The command line of the lab: `tools/lab VERB …`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from . import verbs
from .errors import LabError
from .interrupts import Interrupted, unwind_on_signals
from .lab import DEFAULT_CPUS, DEFAULT_MEMORY, DEFAULT_NAME
from .suites import DEFAULT_SUITE, SUITES

FAILED, USAGE = 1, 2
# What a caller can only have got wrong in the command itself.
USAGE_CODES = {"usage", "no-such-suite", "bad-memory", "bad-name"}
Verb = Callable[[argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = make_parser().parse_args(arguments)
    verb: Verb = options.verb
    unwind_on_signals()
    try:
        return verb(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return USAGE if error.code in USAGE_CODES else FAILED
    except Interrupted as stop:
        print(f"lab: interrupted: {stop}; everything it started is ended", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader of our output has gone; leave nothing for the interpreter to flush into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def make_parser() -> argparse.ArgumentParser:
    """Describe the whole command line."""
    parser = argparse.ArgumentParser(prog="lab", description="A real Xen host in QEMU.")
    sub = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, verb: Verb, text: str, *, named: bool = True) -> argparse.ArgumentParser:
        command = sub.add_parser(name, help=text, description=text)
        command.set_defaults(verb=verb)
        if named:
            command.add_argument("--name", default=DEFAULT_NAME, help="which lab (%(default)s)")
        return command

    up = add("up", verbs.up, "start a lab, or do nothing if it runs")
    add_build_options(up)
    up.add_argument("--memory", default=DEFAULT_MEMORY, help="of the whole host (%(default)s)")
    up.add_argument("--cpus", type=positive, default=DEFAULT_CPUS, help="of the host (%(default)s)")
    up.add_argument(
        "--one-thread", action="store_true", help="run all cpus in turn; for unikernels, not Linux"
    )
    up.add_argument("--fresh", action="store_true", help="boot from power-on, not from a snapshot")

    down = add("down", verbs.down, "end a lab and remove its disk")
    down.add_argument("--all", action="store_true", help="end every lab")

    add("reset", verbs.reset, "do to a lab what a power cut does, and boot it again")

    status = add("status", verbs.status, "list the labs", named=False)
    status.add_argument("--json", action="store_true", help="for programs")

    run = add("exec", verbs.run, "run a command in dom0; its exit code is passed on")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    add("shell", verbs.shell, "open a shell in dom0")

    push = add("push", verbs.push, "copy files into dom0")
    push.add_argument("paths", nargs="+", metavar="SRC… DST")
    pull = add("pull", verbs.pull, "copy files out of dom0")
    pull.add_argument("paths", nargs="+", metavar="SRC… DST")

    add("install", verbs.install, "build the project's wheel and install it in dom0")

    add("guests", verbs.guests, "plug in a drive with unmodified guests, built the first time")

    logs = add("logs", verbs.logs, "show a log: serial console, xl dmesg, or lightvmd's journal")
    logs.add_argument("which", nargs="?", choices=("serial", "xen", "daemon"), default="serial")

    build = add(
        "build", verbs.build, "build an image and its snapshot without starting a lab", named=False
    )
    add_build_options(build)
    add("clean", verbs.clean, "end all labs and empty the cache", named=False)
    return parser


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that may have to build an image."""
    parser.add_argument("--suite", choices=tuple(SUITES), default=DEFAULT_SUITE)
    parser.add_argument("--mirror", metavar="URL", help="Debian archive (default: as this machine)")
    parser.add_argument("--yes", action="store_true", help="install missing packages, use sudo")


def positive(text: str) -> int:
    """Parse a count of at least one."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
