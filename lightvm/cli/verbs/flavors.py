"""``lightvm flavors``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.output import print_json, print_table, size
from lightvm.cli.parser import add_format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Print the flavors."""
    with Client(args.socket) as client:
        flavors = client.flavors()
    if args.format == "json":
        print_json(flavors)
        return 0
    print_table(
        ("NAME", "MODE", "MEM", "VCPUS", "LOW", "HIGH"),
        (
            (f.name, str(f.mode), size(f.memory_kib), str(f.vcpus), str(f.low), str(f.high))
            for f in flavors
        ),
        right=("MEM", "VCPUS", "LOW", "HIGH"),
    )
    return 0
