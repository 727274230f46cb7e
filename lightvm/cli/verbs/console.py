"""``lightvm console``."""

from __future__ import annotations

import argparse
import sys

from lightvm.blocking import Client
from lightvm.cli.output import print_error
from lightvm.cli.parser import UsageError, quantity
from lightvm.cli.quantities import parse_offset
from lightvm.model import ConsoleChunk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domain", metavar="DOMAIN", help="a name, a UUID or a domid")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until the domain has ended"
    )
    parser.add_argument(
        "-i",
        "--interactive",
        action="store_true",
        help="attach the terminal, Control-] leaves it (default on a terminal)",
    )
    parser.add_argument(
        "-p", "--print", action="store_true", help="print what there is (default elsewhere)"
    )
    parser.add_argument(
        "--offset",
        metavar="N",
        type=quantity(parse_offset),
        help="start at this byte of all output (default: the oldest that is kept)",
    )


def run(args: argparse.Namespace) -> int:
    """Attach the terminal, or copy the console's bytes to stdout as they are."""
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    plain = args.print or args.follow or args.offset is not None
    if args.interactive or (on_terminal and not plain):
        if not on_terminal or plain:
            raise UsageError("--interactive needs a terminal, and goes with no other option")
        from lightvm.cli.terminal import attach_terminal

        return attach_terminal(args.socket, args.domain)
    with Client(args.socket) as client:
        if not args.follow:
            _copy_all(client, args.domain, args.offset)
            return 0
        with client.follow_console(args.domain, args.offset) as chunks:
            for chunk in chunks:
                _copy(chunk)
    return 0


def _copy_all(client: Client, domain: str, offset: int | None) -> None:
    """Copy what there is; less than the time before means that the rest has only just been said."""
    before = 0
    while True:
        chunk = client.console_read(domain, offset)
        _copy(chunk)
        if not chunk.data or len(chunk.data) < before:
            return
        before, offset = len(chunk.data), chunk.next


def _copy(chunk: ConsoleChunk) -> None:
    if chunk.lost:
        print_error("console-lost", f"{chunk.lost} bytes before offset {chunk.offset} are gone")
    sys.stdout.buffer.write(chunk.data)
    sys.stdout.buffer.flush()
