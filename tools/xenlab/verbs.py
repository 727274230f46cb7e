"""What each verb of the command line does."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time

from .cache import KEEP, cache_root
from .errors import LabError
from .guests import open_guests
from .lab import Lab
from .progress import say
from .state import list_labs, read_state


def up(options: argparse.Namespace) -> int:
    """Start a lab."""
    started = time.monotonic()
    lab = Lab(
        options.name,
        suite=options.suite,
        memory=options.memory,
        cpus=options.cpus,
        fresh=options.fresh,
        one_thread=options.one_thread,
    )
    lab.up(mirror=options.mirror, assume_yes=options.yes)
    state = lab.require_state()
    say(
        f"{state.name} is up after {time.monotonic() - started:.1f} s: {state.suite}, "
        f"{state.memory}, {state.cpus} cpus, ssh port {state.port}"
    )
    return 0


def down(options: argparse.Namespace) -> int:
    """End one lab or all."""
    for name in list_labs() if options.all else [options.name]:
        Lab(name).down()
    return 0


def reset(options: argparse.Namespace) -> int:
    """Do to a lab what a power cut does."""
    Lab.find(options.name).reset()
    return 0


def status(options: argparse.Namespace) -> int:
    """List the labs on record."""
    rows = [describe(name) for name in list_labs()]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print("no lab is running")
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))
    return 0


def describe(name: str) -> dict[str, object]:
    """Return what `status` shows about one lab."""
    state = read_state(name)
    if state is None:
        return {"name": name, "state": "dead"}
    alive = "up" if state.ready else "starting"
    if state.owner is not None and not state.owner.is_alive():
        alive = "abandoned"
    return {
        "name": name,
        "state": alive if state.is_alive() else "dead",
        "suite": state.suite,
        "memory": state.memory,
        "cpus": state.cpus,
        "port": state.port,
        "pid": state.qemu.pid,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(state.started)),
    }


def run(options: argparse.Namespace) -> int:
    """Run a command in dom0 with this command's own stdin and stdout."""
    command: list[str] = options.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        print("lab: usage: exec needs a command", file=sys.stderr)
        return 2
    lab = Lab.find(options.name)
    # One word may be a whole shell command line; several are one command and its arguments.
    remote = command[0] if len(command) == 1 else command
    return pass_through(lab, lab.ssh.command(remote))


def shell(options: argparse.Namespace) -> int:
    """Open a login shell in dom0."""
    lab = Lab.find(options.name)
    return pass_through(lab, lab.ssh.command("exec bash -l", tty=True))


def pass_through(lab: Lab, command: list[str]) -> int:
    """Run a command on the host with our stdin and stdout; return its exit code."""
    process = subprocess.Popen(command, cwd=lab.directory)
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()


def push(options: argparse.Namespace) -> int:
    """Copy files into dom0."""
    *sources, target = split_paths(options.paths)
    Lab.find(options.name).push(*sources, to=target)
    return 0


def pull(options: argparse.Namespace) -> int:
    """Copy files out of dom0."""
    *sources, target = split_paths(options.paths)
    Lab.find(options.name).pull(*sources, to=target)
    return 0


def split_paths(paths: list[str]) -> list[str]:
    """Check that there is something to copy and somewhere to copy it to."""
    if len(paths) < 2:
        raise LabError("usage", "give at least one source and the destination")
    return paths


def guests(options: argparse.Namespace) -> int:
    """Plug in a drive with unmodified guests."""
    lab = Lab.find(options.name)
    lab.attach(open_guests(lab.shape.suite))
    return 0


def install(options: argparse.Namespace) -> int:
    """Install the project in dom0."""
    started = time.monotonic()
    Lab.find(options.name).install()
    say(f"installed in {options.name} after {time.monotonic() - started:.1f} s")
    return 0


def logs(options: argparse.Namespace) -> int:
    """Show one of the lab's logs."""
    sys.stdout.write(Lab.find(options.name).read_log(options.which))
    return 0


def build(options: argparse.Namespace) -> int:
    """Build an image and its snapshot."""
    image, _ = Lab(suite=options.suite).prepare(mirror=options.mirror, assume_yes=options.yes)
    say(f"{image.key} is in {image.directory}")
    return 0


def clean(options: argparse.Namespace) -> int:
    """End all labs and remove everything that was built."""
    for name in list_labs():
        Lab(name).down()
    for kind in (*KEEP, "labs", "failed", "artifacts"):
        shutil.rmtree(cache_root() / kind, ignore_errors=True)
    return 0
