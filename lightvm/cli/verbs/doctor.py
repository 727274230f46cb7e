"""``lightvm doctor``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.output import print_json, print_table
from lightvm.cli.parser import add_format
from lightvm.model import Verdict

_BAD = (Verdict.LEAKED, Verdict.MISSING)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Print the findings; the exit code is 1 where something is leaked or missing."""
    with Client(args.socket) as client:
        findings = client.doctor()
    if args.format == "json":
        print_json(findings)
    else:
        print_table(
            ("VERDICT", "KIND", "WHAT", "DETAIL"),
            ((found.verdict, found.kind, found.what, found.detail) for found in findings),
        )
    return 1 if any(found.verdict in _BAD for found in findings) else 0
