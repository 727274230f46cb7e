"""Domains of other toolstacks, which ``--foreign`` hands to xl: the daemon never changes what is not its own."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence

from lightvm.blocking import Client
from lightvm.errors import NoSuchDomain, TimedOut, XlFailed
from lightvm.model import ForeignDomain

XL_SECONDS = 60.0
"""How long xl may take for what does not wait for a guest."""


def add_foreign(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--foreign",
        action="store_true",
        help="hand a domain that is another toolstack's to xl, which needs root",
    )


def find_foreign(client: Client, key: str) -> ForeignDomain:
    """Return the domain of another toolstack with that name, UUID or domid; raises `NoSuchDomain`."""
    for domain in client.foreign():
        if domain.is_called(key):
            return domain
    raise NoSuchDomain("no domain of another toolstack has that name, UUID or domid", key)


def run_xl(domain: ForeignDomain, verb: Sequence[str], seconds: float = XL_SECONDS) -> None:
    """Let xl do something with a domain; raises `XlFailed`, and `TimedOut` where it takes too long."""
    where = domain.name or str(domain.domid)
    try:
        done = subprocess.run(
            ["xl", *verb, str(domain.domid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except OSError as exc:
        raise XlFailed(f"xl cannot be run: {exc.strerror}", where) from exc
    except subprocess.TimeoutExpired:
        raise TimedOut(f"xl {verb[0]} takes longer than {seconds:g} s", where) from None
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise XlFailed(
            f"xl {verb[0]}: {lines[-1] if lines else f'status {done.returncode}'}", where
        )
