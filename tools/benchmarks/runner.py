"""Where experiments run: in the dom0 of a lab, or on this machine; their files come back, whatever happened there."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xenlab.errors import LabError
from xenlab.lab import Lab
from xenlab.qemu import qemu_version
from xenlab.wheels import PROJECT

from benchmarks.experiments import find_experiment
from benchmarks.inside import GRACE, GRACE_SECONDS
from benchmarks.machine import GUEST_POOL
from benchmarks.polling import poll_before_halting
from benchmarks.rows import ROWS, RUN

HERE = Path(__file__).parent
IN_DOM0 = "/opt/lightvm-bench"
RESULTS = f"{IN_DOM0}/results"
PYTHON = "/opt/lightvm/bin/python"
UDEV_RULES = PROJECT / "packaging/udev"


def measure_in_lab(
    lab: Lab, names: Sequence[str], scale: str, directory: Path, patience: float = 1.0
) -> None:
    """Run experiments in a lab that has the project installed; their files are then in `directory`.

    Raises `LabError` where one has failed, and then too the files are there.
    """
    machine = {"project": describe_revision(PROJECT), "host": qemu_version()}
    if lab.shape.instructions:
        machine["instruction count"] = "yes"
    if lab.shape.one_thread:
        machine["processors"] = "run by one thread, in turn"
    elif lab.pin_processors():
        machine["processors"] = "each with one of the host's own"
    if lab.shape.preallocated:
        machine["preallocated"] = "all memory of the lab"
    directory.mkdir(parents=True, exist_ok=True)
    lab.run(f"rm -rf {IN_DOM0} && mkdir -p {IN_DOM0}", check=True)
    lab.push(HERE, to=f"{IN_DOM0}/benchmarks")
    quieten_udev(lab)
    machine["udev"] = "starts no programs for vifs"
    part_processors(lab)
    ssh = lab.ssh
    try:
        with poll_before_halting() as polling:
            if polling:
                machine["idle processors"] = "look for work before they halt"
            line = shlex.join(command(PYTHON, names, scale, RESULTS, machine, patience))
            status = subprocess.run(
                ssh.command(f"cd {IN_DOM0} && {line}"),
                cwd=ssh.directory,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                check=False,
                timeout=time_limit(names, scale, patience),
            ).returncode
    except subprocess.TimeoutExpired:
        status = -1
    finally:
        with suppress(LabError):  # what there is: a run that failed early may have less
            lab.pull(f"{RESULTS}/{ROWS}", f"{RESULTS}/{RUN}", to=directory)
    check(status, directory)


def quieten_udev(lab: Lab) -> None:
    """Have udev start no programs for vifs: of whoever makes them, they run beside what is measured next."""
    lab.push(*UDEV_RULES.iterdir(), to="/run/udev/rules.d/")
    lab.run("udevadm control --reload", check=True)


def part_processors(lab: Lab) -> None:
    """Give dom0 a processor of its own where there are two, and guests the others, as in the paper. Once is enough."""
    if lab.shape.cpus > 1:
        others = f"1-{lab.shape.cpus - 1}"
        pool = f"""'name="{GUEST_POOL}"' 'cpus="{others}"'"""
        part = f"xl cpupool-cpu-remove Pool-0 {others} && xl cpupool-create {pool}"
        lab.run(f"xl cpupool-list {GUEST_POOL} || ({part})", check=True)


def measure_here(
    python: str, names: Sequence[str], scale: str, directory: Path, patience: float = 1.0
) -> None:
    """Run experiments on this machine, under root and a Python that has the project; raises `LabError`."""
    if shutil.which("xl") is None:
        raise LabError("no-xen", "there is no xl here: this is no Xen host")
    machine = {"project": describe_revision(PROJECT), "host": "the machine itself"}
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command(python, names, scale, str(directory.resolve()), machine, patience),
        cwd=HERE.parent,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        stdout=sys.stderr,
        check=False,
    )
    check(done.returncode, directory)


def command(
    python: str,
    names: Sequence[str],
    scale: str,
    results: str,
    machine: dict[str, str],
    patience: float = 1.0,
) -> list[str]:
    """Return the command that runs experiments."""
    facts = [word for key, value in machine.items() for word in ("--machine", f"{key}={value}")]
    extent = ["--scale", scale, "--patience", str(patience)]
    return [python, "-m", "benchmarks.inside", "--to", results, *extent, *facts, *names]


def time_limit(names: Sequence[str], scale: str, patience: float) -> float:
    """Return after how many seconds a run is given up: long after its experiments give up by themselves."""
    limits = (find_experiment(name).seconds(scale, patience) for name in names)
    return sum(GRACE * limit + 2 * GRACE_SECONDS for limit in limits)


def check(status: int, directory: Path) -> None:
    """Raise `LabError` unless a run has ended well."""
    if not (directory / RUN).exists():
        raise LabError("bench-failed", f"the run ended with status {status} before it was a run")
    if status:
        raise LabError("bench-failed", f"status {status}; what was measured is in {directory}")


def describe_revision(tree: Path) -> str:
    """Return the revision of a tree, and whether it has changes; "unknown" where there is no repository."""
    line = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
