"""The argument parser: argparse, but an error is one line, and verbs are found in a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from lightvm import __version__
from lightvm.cli.output import print_error
from lightvm.cli.verbs import VERBS

TYPE_CHECKING = False  # type checkers take this name for true; the import from typing costs time
if TYPE_CHECKING:
    from typing import NoReturn, TypeVar

    T = TypeVar("T")

USAGE = 2
"""Exit code for a command line that makes no sense."""


class UsageError(Exception):
    """A verb found that its arguments do not go together."""


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviated options and says what is wrong in one line."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        """Make a parser for the command `prog`."""
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        print_error("usage", f"{message}; see '{self.prog} --help'")
        sys.exit(USAGE)


def command_parser(prog: str) -> Parser:
    """Return the parser of what comes before the verb, and of the verb itself."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    parser = Parser(
        prog,
        "Virtual machines as cheap as processes, on a stock Xen host.",
        f"verbs:\n{verbs}\n\n'{prog} VERB --help' tells more about a verb.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"lightvm {__version__}")
    _add_socket(parser, None)
    parser.add_argument("verb", nargs="?", metavar="VERB", help="one of those below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    return parser


def verb_parser(prog: str, verb: str) -> Parser:
    """Return the parser of a verb's arguments, with those that all verbs have."""
    summary = VERBS[verb]
    parser = Parser(f"{prog} {verb}", f"{summary[0].upper()}{summary[1:]}.")
    _add_socket(parser, argparse.SUPPRESS)
    return parser


def add_format(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Add ``--format``; the first of `formats` is the default."""
    parser.add_argument(
        "--format", choices=formats, default=formats[0], help=f"default: {formats[0]}"
    )


def quantity(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return an argument type that says why a value is refused."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc

    return parse_argument


def _add_socket(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=default,
        help="the daemon's socket (default: $LIGHTVM_SOCKET, or /run/lightvm/lightvm.sock)",
    )
