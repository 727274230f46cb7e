"""``lightvm completion``."""

from __future__ import annotations

import argparse
from importlib.resources import files

_FILES = {"bash": "lightvm.bash", "zsh": "_lightvm"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("shell", choices=tuple(_FILES), help="the shell to complete for")


def run(args: argparse.Namespace) -> int:
    """Print the shell's completion file."""
    file = files("lightvm") / "completion" / _FILES[args.shell]
    print(file.read_text(encoding="utf-8"), end="")
    return 0
