"""``lightvm schema``."""

from __future__ import annotations

import argparse
import json

from lightvm.cli.schema import request_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: it has none."""


def run(args: argparse.Namespace) -> int:
    """Print the JSON Schema of a request in TOML."""
    print(json.dumps(request_schema(), indent=2))
    return 0
