"""``lightvm events``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.output import moment, outcome, print_json_line, printable
from lightvm.cli.parser import add_format
from lightvm.model import Event


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Print one line per event until interrupted."""
    with Client(args.socket) as client, client.watch() as events:
        for event in events:
            if args.format == "json":
                print_json_line(event)
            else:
                print(_line(event), flush=True)
    return 0


def _line(event: Event) -> str:
    line = f"{moment(event.at)}  {event.kind:<10}"
    if event.domain is not None:
        line += f"  {printable(event.domain.name)}  {event.domain.domid}"
        if event.domain.exit is not None:
            line += f"  {outcome(event.domain.exit)}"
    if event.count is not None:
        line += f"  {event.count}"
    return line
