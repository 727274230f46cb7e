"""``lightvm services``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.output import print_json, print_table
from lightvm.cli.parser import add_format

NUMBERS = ("LIVE", "REQUESTS", "CREATED", "FAILED", "DESTROYED")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Print the services."""
    with Client(args.socket) as client:
        services = client.services()
    if args.format == "json":
        print_json(services)
        return 0
    print_table(
        ("NAME", "NETWORK", *NUMBERS),
        (
            (
                s.name,
                s.network,
                *map(str, (s.live, s.requests, s.created, s.failed, s.destroyed)),
            )
            for s in services
        ),
        right=NUMBERS,
    )
    return 0
