"""The ``lightvm`` command.

Exit codes: 0 done, 1 failed, 2 usage, 3 no daemon, 130 interrupted, 141 nobody reads the output.
Starting Python is most of what a verb takes, so each imports only what it needs.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

from lightvm.cli.output import print_error
from lightvm.cli.verbs import VERBS

TYPE_CHECKING = False  # type checkers take this name for true; these imports cost time
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from lightvm.cli.parser import Parser

FAILED = 1
NO_DAEMON = 3
INTERRUPTED = 128 + 2  # SIGINT
BROKEN_PIPE = 128 + 13  # SIGPIPE

AS_LVM = "--as-lvm"
"""First word of a command line that the native ``lvm`` hands over; the rest is what ``lvm`` was given."""


def main(argv: list[str] | None = None, prog: str = "lightvm") -> int:
    """Run a command line and return its exit code; help and usage errors exit by themselves."""
    if argv is None:
        argv = sys.argv[1:]
        if argv[:1] == [AS_LVM]:
            from lightvm.cli.lvm import main as lvm_main

            return lvm_main(argv[1:])
    if isinstance(sys.stdout, TextIOWrapper):  # a name may have letters that the locale lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(argv, prog)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except OSError as exc:  # such as a full disk behind stdout
        _drop_output()
        print_error("os-error", str(exc))
        return FAILED
    return code


def _run(argv: list[str], prog: str) -> int:
    from lightvm.cli.parser import command_parser, verb_parser

    parser = command_parser(prog)
    args = parser.parse_args(argv)
    verb: str | None = args.verb
    rest: list[str] = args.rest
    if verb == "help":
        verb, rest = (rest[0], ["--help"]) if rest else (verb, rest)
    if verb in (None, "help"):
        parser.print_help(sys.stdout if verb else sys.stderr)
        return 0 if verb else 2
    if verb not in VERBS:
        parser.error(_unknown(verb))

    from importlib import import_module

    module = import_module(f"lightvm.cli.verbs.{verb}")
    own = verb_parser(prog, verb)
    module.add_arguments(own)
    own.parse_intermixed_args(rest, args)
    return _carry_out(module.run, args, own)


def _carry_out(
    run: Callable[[argparse.Namespace], int], args: argparse.Namespace, parser: Parser
) -> int:
    from lightvm.cli.parser import UsageError
    from lightvm.errors import LightVMError, NoDaemon

    try:
        return run(args)
    except UsageError as exc:
        parser.error(str(exc))
    except NoDaemon as exc:
        print_error(exc.code, str(exc))
        return NO_DAEMON
    except LightVMError as exc:
        print_error(exc.code, str(exc))
        return FAILED


def _unknown(verb: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(verb, VERBS, n=1)
    return f"there is no verb {verb!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not fail on it at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (AttributeError, OSError, ValueError):
        pass  # there is no file behind stdout
