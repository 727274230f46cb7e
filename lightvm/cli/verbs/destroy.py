"""``lightvm destroy``."""

from __future__ import annotations

import argparse

from lightvm.cli.each import for_each_domain
from lightvm.cli.foreign import add_foreign, run_xl


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domains", nargs="+", metavar="DOMAIN", help="a name, a UUID or a domid")
    parser.add_argument(
        "--missing-ok", action="store_true", help="a domain that does not exist is no error"
    )
    parser.add_argument(
        "--wait", action="store_true", help="return when all that it held has been given back"
    )
    add_foreign(parser)


def run(args: argparse.Namespace) -> int:
    """Destroy each domain."""
    missing_ok: bool = args.missing_ok
    wait: bool | None = args.wait or None
    return for_each_domain(
        args,
        lambda client, domain: client.destroy(domain, missing_ok=missing_ok, wait=wait),
        lambda domain: run_xl(domain, ["destroy"]),
    )
