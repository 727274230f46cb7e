"""``lightvm restart``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.each import for_each_domain
from lightvm.cli.foreign import add_foreign, run_xl
from lightvm.cli.verbs.stop import add_patience
from lightvm.model import Created


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domains", nargs="+", metavar="DOMAIN", help="a name, a UUID or a domid")
    add_patience(parser)
    add_foreign(parser)


def run(args: argparse.Namespace) -> int:
    """Restart each domain."""

    def restart(client: Client, domain: str) -> Created:
        return client.restart(domain, timeout_ms=args.timeout, force=args.force)

    return for_each_domain(args, restart, lambda domain: run_xl(domain, ["reboot", "-F"]))
