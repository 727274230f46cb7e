"""``lightvm create``."""

from __future__ import annotations

import argparse
import os

import msgspec

from lightvm.blocking import Client
from lightvm.cli.output import milliseconds, print_error, print_json_line, printable
from lightvm.cli.parser import UsageError, add_format, quantity
from lightvm.cli.progress import Progress
from lightvm.cli.quantities import parse_count, parse_disk, parse_net, parse_seconds, parse_size
from lightvm.cli.request import build_request, numbered, read_metadata, read_source
from lightvm.model import Created, CreateRequest, Failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add(
        "source",
        metavar="IMAGE|CONFIG",
        help="a kernel file, a guest of the package, a request (.toml), or a file of xl's (.cfg) or chaos' (.json)",
    )
    add(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        help="what counts more than what a .cfg file says, in its syntax",
    )
    add("--name", help="the domain's name (default: the daemon's choice)")
    add("--flavor", help="the flavor to take (default: the smallest that fits)")
    add(
        "--mode",
        choices=("noxs", "xenstore"),
        help="where the guest finds its devices (default: what its image says)",
    )
    add(
        "--memory",
        metavar="SIZE",
        type=quantity(parse_size),
        help="with a unit, such as 4M or 512K; without one in MiB",
    )
    add("--vcpus", metavar="N", type=quantity(parse_count), help="number of virtual CPUs")
    add(
        "--cpus",
        metavar="LIST",
        action="append",
        help="processors where it may run, such as 0-3,^1; given again, each is for one vCPU",
    )
    add(
        "--cpu-weight",
        metavar="N",
        type=quantity(parse_count),
        help="its share of processors relative to other domains, of which each has 256",
    )
    add(
        "--cpu-cap",
        metavar="PERCENT",
        type=quantity(parse_count),
        help="the most of a processor that it may use; 250 is two and a half",
    )
    add("--cmdline", metavar="TEXT", help="the kernel's command line")
    add(
        "--module",
        metavar="FILE",
        action="append",
        help="a file for the guest, such as an initrd; may be given again",
    )
    add(
        "--net",
        metavar="NETWORK[,mac=MAC][,ip=ADDRESS]",
        action="append",
        type=quantity(parse_net),
        help="a network device in a network of the daemon; may be given again",
    )
    add(
        "--disk",
        metavar="FILE[,ro]",
        action="append",
        type=quantity(parse_disk),
        help="a disk: a raw image or a block device; may be given again",
    )
    add("--metadata", metavar="FILE", help="bytes for the guest's program; - is standard input")
    for event, default in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        add(
            f"--on-{event}",
            choices=("destroy", "restart", "preserve"),
            help=f"what becomes of it then (default: {default})",
        )
    add("--count", metavar="N", type=quantity(parse_count), help="create NAME-1 to NAME-N")
    add("--paused", action="store_true", default=None, help="do not let it run yet")
    add("--cold", action="store_true", default=None, help="do not take a shell of the pool")
    add("--wait", choices=("running", "ready"), help="come back when the guest has got that far")
    add(
        "--timeout",
        metavar="SECONDS",
        type=quantity(parse_seconds),
        help="how long to wait (default: the daemon's limit)",
    )
    add("--token", help="a word that makes it safe to repeat the command")
    add_format(parser, "table", "json")


def run(args: argparse.Namespace) -> int:
    """Create what is asked for, and print one line per domain."""
    source = read_source(args.source, args.overrides)
    options = {
        "name": args.name,
        "flavor": args.flavor,
        "mode": args.mode,
        "memory_kib": args.memory,
        "vcpus": args.vcpus,
        "cpus": args.cpus,
        "cpu_weight": args.cpu_weight,
        "cpu_cap": args.cpu_cap,
        "cmdline": args.cmdline,
        "modules": args.module and [os.path.abspath(module) for module in args.module],
        "nets": args.net,
        "disks": args.disk,
        "metadata": None if args.metadata is None else read_metadata(args.metadata),
        "on_poweroff": args.on_poweroff,
        "on_reboot": args.on_reboot,
        "on_crash": args.on_crash,
        "paused": args.paused,
        "cold": args.cold,
        "wait": args.wait,
        "timeout_ms": args.timeout,
        "token": args.token,
    }
    request = build_request(source, options)
    if request.timeout_ms is not None and request.wait is None:
        raise UsageError("--timeout bounds --wait, which is not given")
    with Client(args.socket) as client:
        if args.count is not None:
            return _create_many(client, numbered(request, args.count), args.format)
        _print(client.create(**msgspec.structs.asdict(request)), args.format)
    return 0


def _create_many(client: Client, requests: tuple[CreateRequest, ...], style: str) -> int:
    code = 0
    with Progress(len(requests)) as progress, client.iter_create_many(requests) as results:
        for done, result in enumerate(results, 1):
            progress.hide()
            if result.created is not None:
                _print(result.created, style)
            if result.failure is not None:
                _print_failure(result.failure, f"domain {result.index + 1} of {len(requests)}")
                code = 1
            progress.show(done)
    return code


def _print_failure(failure: Failure, which: str) -> None:
    where = which if failure.where is None else f"{which}, {failure.where}"
    print_error(failure.code, f"{failure.message} ({where})")


def _print(created: Created, style: str) -> None:
    if style == "json":
        print_json_line(created)
        return
    domain, phases = created.domain, created.phases
    line = f"{printable(domain.name)}  {domain.domid}  {created.source}"
    line += f"  {milliseconds(phases.total_us)}"
    if phases.ready_us is not None:
        line += f"  ready after {milliseconds(phases.ready_us)}"
    print(line, flush=True)
