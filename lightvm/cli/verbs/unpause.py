"""``lightvm unpause``."""

from __future__ import annotations

import argparse

from lightvm.cli.each import for_each_domain
from lightvm.cli.foreign import add_foreign, run_xl


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domains", nargs="+", metavar="DOMAIN", help="a name, a UUID or a domid")
    add_foreign(parser)


def run(args: argparse.Namespace) -> int:
    """Unpause each domain."""
    return for_each_domain(
        args,
        lambda client, domain: client.unpause(domain),
        lambda domain: run_xl(domain, ["unpause"]),
    )
