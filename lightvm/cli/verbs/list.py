"""``lightvm list``."""

from __future__ import annotations

import argparse
import sys
import time

from lightvm.blocking import Client
from lightvm.cli.output import age, print_json, print_table, printable, size
from lightvm.cli.parser import add_format
from lightvm.model import Domain

_CSV = ("name", "uuid", "domid", "state", "memory_kib", "vcpus", "flavor", "created", "image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print names only")
    parser.add_argument("-a", "--all", action="store_true", help="list exited domains too")
    add_format(parser, "table", "json", "csv")


def run(args: argparse.Namespace) -> int:
    """Print the domains."""
    with Client(args.socket) as client:
        domains = client.list(all=args.all)
    if args.quiet:
        for domain in domains:
            print(printable(domain.name))
    elif args.format == "json":
        print_json(domains)
    elif args.format == "csv":
        _print_csv(domains)
    else:
        _print_table(domains)
    return 0


def _print_table(domains: tuple[Domain, ...]) -> None:
    now = time.time()
    print_table(
        ("NAME", "DOMID", "STATE", "MEM", "VCPUS", "FLAVOR", "AGE", "IMAGE"),
        (
            (
                domain.name,
                str(domain.domid),
                domain.state,
                size(domain.memory_kib),
                str(domain.vcpus),
                domain.flavor,
                age(now - domain.created),
                domain.image,
            )
            for domain in domains
        ),
        right=("DOMID", "MEM", "VCPUS", "AGE"),
    )


def _print_csv(domains: tuple[Domain, ...]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV)
    for domain in domains:
        writer.writerow([getattr(domain, field) for field in _CSV])
