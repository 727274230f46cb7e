"""``lightvm list``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from lightvm.blocking import Client
from lightvm.cli.output import age, print_json, print_table, printable, size
from lightvm.cli.parser import add_format
from lightvm.model import Domain, ForeignDomain

_CSV = ("name", "uuid", "domid", "state", "memory_kib", "vcpus", "flavor", "created", "image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print names only")
    parser.add_argument(
        "-a",
        "--all",
        action="store_true",
        help="list exited domains too, and those of other toolstacks",
    )
    add_format(parser, "table", "json", "csv")


def run(args: argparse.Namespace) -> int:
    """Print the domains."""
    with Client(args.socket) as client:
        domains = client.list(all=args.all)
        foreign = client.foreign() if args.all else ()
    if args.quiet:
        for domain in domains:
            print(printable(domain.name))
        for stranger in foreign:
            print(printable(stranger.name or str(stranger.domid)))
    elif args.format == "json":
        print_json((*domains, *foreign))
    elif args.format == "csv":
        _print_csv((*domains, *foreign))
    else:
        _print_table(domains, foreign)
    return 0


def _print_table(domains: Sequence[Domain], foreign: Sequence[ForeignDomain]) -> None:
    now = time.time()
    rows = [_row(domain, now) for domain in domains]
    rows += [_foreign_row(domain) for domain in foreign]
    print_table(
        ("NAME", "DOMID", "STATE", "MEM", "VCPUS", "FLAVOR", "AGE", "IMAGE"),
        rows,
        right=("DOMID", "MEM", "VCPUS", "AGE"),
    )


def _row(domain: Domain, now: float) -> tuple[str, ...]:
    return (
        domain.name,
        str(domain.domid),
        domain.state,
        size(domain.memory_kib),
        str(domain.vcpus),
        domain.flavor,
        age(now - domain.created),
        domain.image,
    )


def _foreign_row(domain: ForeignDomain) -> tuple[str, ...]:
    """Return the row of another toolstack's domain; of some things only that one knows."""
    return (
        domain.name or "-",
        str(domain.domid),
        domain.state,
        size(domain.memory_kib),
        str(domain.vcpus),
        "(foreign)",
        "-",
        "-",
    )


def _print_csv(domains: Sequence[Domain | ForeignDomain]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV)
    for domain in domains:
        writer.writerow([getattr(domain, field, None) for field in _CSV])
