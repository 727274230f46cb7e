"""``lightvm pool``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.output import print_json, print_table
from lightvm.cli.parser import add_format

_COUNTS = ["shells", "tickets", "low", "high", "hits", "instant", "misses", "prepared", "discarded"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Print the pools, one per flavor."""
    with Client(args.socket) as client:
        pools = client.pool_status()
    if args.format == "json":
        print_json(pools)
        return 0
    titles = tuple(map(str.upper, _COUNTS))
    print_table(
        ("FLAVOR", *titles, "LAST ERROR"),
        (
            (pool.flavor, *(str(getattr(pool, count)) for count in _COUNTS), pool.last_error or "")
            for pool in pools
        ),
        right=titles,
    )
    return 0
