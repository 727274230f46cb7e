"""``lightvm destroy``."""

from __future__ import annotations

import argparse

from lightvm.cli.each import for_each_domain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domains", nargs="+", metavar="DOMAIN", help="a name, a UUID or a domid")
    parser.add_argument(
        "--missing-ok", action="store_true", help="a domain that does not exist is no error"
    )


def run(args: argparse.Namespace) -> int:
    """Destroy each domain."""
    missing_ok: bool = args.missing_ok
    return for_each_domain(args, lambda client, d: client.destroy(d, missing_ok=missing_ok))
