"""``lightvm version``."""

from __future__ import annotations

import argparse

from lightvm import __version__
from lightvm.blocking import Client
from lightvm.cli.output import age, print_json, printable
from lightvm.cli.parser import add_format
from lightvm.errors import LightVMError
from lightvm.model import Version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Print the versions; a daemon that cannot be asked is a remark, not a failure."""
    daemon: Version | None = None
    remark = ""
    try:
        with Client(args.socket) as client:
            daemon = client.version()
    except LightVMError as exc:
        remark = f"{exc.code}: {exc}"
    if args.format == "json":
        print_json({"client": __version__, "daemon": daemon})
        return 0
    print(f"lightvm {__version__}")
    print(printable(f"lightvmd {remark}") if daemon is None else _lines(daemon))
    return 0


def _lines(daemon: Version) -> str:
    return (
        f"lightvmd {printable(daemon.version)}, up {age(daemon.uptime_s)},"
        f" {daemon.domains} domains, {daemon.shells} shells\n"
        f"Xen {printable(daemon.xen)}, domctl {daemon.domctl:#x}, sysctl {daemon.sysctl:#x}"
    )
