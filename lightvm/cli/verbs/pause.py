"""``lightvm pause``."""

from __future__ import annotations

import argparse

from lightvm.cli.each import for_each_domain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domains", nargs="+", metavar="DOMAIN", help="a name, a UUID or a domid")


def run(args: argparse.Namespace) -> int:
    """Pause each domain."""
    return for_each_domain(args, lambda client, domain: client.pause(domain))
