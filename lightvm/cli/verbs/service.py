"""``lightvm service``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.parser import UsageError, quantity
from lightvm.cli.quantities import parse_count, parse_seconds
from lightvm.cli.request import find_image, read_text

_NEEDED = ("image", "network", "addresses")
_OTHERS = ("flavor", "cmdline", "metadata", "idle_seconds", "most")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("action", choices=("add", "remove"), help="a removed service's domains are destroyed")
    add("name", metavar="NAME", help="the service's name")
    add("--image", metavar="FILE", help="the kernel file of its domains")
    add("--network", help="their network")
    add(
        "--addresses",
        metavar="ADDRESS[-LAST|/BITS][,...]",
        action="append",
        help="each gets a domain when the first packet for it arrives; may be given again",
    )
    add("--flavor", help="their flavor (default: the smallest that fits)")
    add("--cmdline", metavar="TEXT", help="their kernel's command line")
    add("--metadata", metavar="FILE", help="text for their program; - is standard input")
    add(
        "--idle-seconds",
        metavar="SECONDS",
        type=quantity(parse_seconds),
        help="a domain that has sent nothing for so long is destroyed (default: 60)",
    )
    add("--most", metavar="N", type=quantity(parse_count), help="domains at once (default: 1000)")


def run(args: argparse.Namespace) -> int:
    """Add or remove a service."""
    given = {key for key in _NEEDED + _OTHERS if getattr(args, key) is not None}
    if args.action == "remove":
        if given:
            raise UsageError("remove takes a name and no more")
        with Client(args.socket) as client:
            client.remove_service(args.name)
        return 0
    if not given.issuperset(_NEEDED):
        raise UsageError("add needs --image, --network and --addresses")
    metadata = None if args.metadata is None else read_text(args.metadata)
    with Client(args.socket) as client:
        client.add_service(
            args.name,
            image=find_image(args.image),
            network=args.network,
            addresses=[part for text in args.addresses for part in text.split(",")],
            flavor=args.flavor,
            cmdline=args.cmdline,
            metadata=metadata,
            idle_seconds=None if args.idle_seconds is None else args.idle_seconds / 1000,
            most=args.most,
        )
    return 0
