"""``lightvm info``."""

from __future__ import annotations

import argparse

from lightvm.blocking import Client
from lightvm.cli.output import moment, outcome, print_fields, print_json, size
from lightvm.cli.parser import add_format
from lightvm.model import Domain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("domain", metavar="DOMAIN", help="a name, a UUID or a domid")
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Print all that is known about the domain."""
    with Client(args.socket) as client:
        domain = client.info(args.domain)
    if args.format == "json":
        print_json(domain)
    else:
        print_fields(_fields(domain))
    return 0


def _fields(domain: Domain) -> list[tuple[str, str]]:
    fields = [
        ("name", domain.name),
        ("uuid", domain.uuid),
        ("domid", str(domain.domid)),
        ("state", str(domain.state)),
        ("flavor", domain.flavor),
        ("mode", str(domain.mode)),
        ("memory", size(domain.memory_kib)),
        ("vcpus", str(domain.vcpus)),
        *(("cpus", cpus) for cpus in domain.cpus or ()),
        ("image", domain.image),
        ("cmdline", domain.cmdline),
        ("created", moment(domain.created)),
    ]
    for vif in domain.vifs:
        fields.append(("vif", " ".join(filter(None, (vif.network, vif.mac, vif.ipv4)))))
    for vbd in domain.vbds:
        mode = "read-only" if vbd.readonly else "read-write"
        fields.append(("vbd", f"{vbd.path} {size(vbd.size_bytes // 1024)} {mode}"))
    if domain.cpu_weight is not None:
        fields.append(("cpu weight", str(domain.cpu_weight)))
    if domain.cpu_cap is not None:
        fields.append(("cpu cap", f"{domain.cpu_cap} %"))
    if domain.restarts:
        fields.append(("restarts", str(domain.restarts)))
    if domain.heartbeat is not None:
        fields.append(("heartbeat", str(domain.heartbeat)))
    if domain.ready is not None:
        fields.append(("ready", moment(domain.ready)))
    if domain.exit is not None:
        fields.append(("exited", moment(domain.exit.at)))
        fields.append(("exit", outcome(domain.exit)))
    return fields
