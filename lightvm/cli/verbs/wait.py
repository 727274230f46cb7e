"""``lightvm wait``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.output import outcome
from lightvm.cli.parser import quantity
from lightvm.cli.quantities import parse_seconds
from lightvm.model import WaitFor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domain", metavar="DOMAIN", help="a name, a UUID or a domid")
    parser.add_argument(
        "--for",
        dest="until",
        choices=tuple(str(until) for until in WaitFor),
        default=str(WaitFor.EXITED),
        help="what to wait for (default: exited)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=quantity(parse_seconds),
        help="how long to wait (default: the daemon's limit)",
    )


def run(args: argparse.Namespace) -> int:
    """Wait, and print how the domain ended if it did."""
    with Client(args.socket) as client:
        domain = client.wait(args.domain, WaitFor(args.until), timeout_ms=args.timeout)
    if domain.exit is not None:
        print(outcome(domain.exit))
    return 0
