"""``lightvm stop``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.each import for_each_domain
from lightvm.cli.foreign import add_foreign, run_xl
from lightvm.cli.parser import quantity
from lightvm.cli.quantities import parse_seconds
from lightvm.errors import TimedOut
from lightvm.model import Domain, ForeignDomain

DEFAULT_MS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domains", nargs="+", metavar="DOMAIN", help="a name, a UUID or a domid")
    add_patience(parser)
    add_foreign(parser)


def add_patience(parser: argparse.ArgumentParser) -> None:
    """Add what a guest's slowness is answered with."""
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=quantity(parse_seconds),
        help="how long to wait for the guest (default: 10)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        default=None,
        help="destroy a guest that has not stopped by then",
    )


def run(args: argparse.Namespace) -> int:
    """Stop each domain."""

    def stop(client: Client, domain: str) -> Domain:
        return client.stop(domain, timeout_ms=args.timeout, force=args.force)

    def stop_foreign(domain: ForeignDomain) -> None:
        timeout_ms = DEFAULT_MS if args.timeout is None else args.timeout
        try:
            # -F: a guest without drivers of Xen's has a power button; -w: come back when it is gone
            run_xl(domain, ["shutdown", "-F", "-w"], timeout_ms / 1000)
        except TimedOut:
            if not args.force:
                raise
            run_xl(domain, ["destroy"])

    return for_each_domain(args, stop, stop_foreign)
