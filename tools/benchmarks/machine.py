"""What a run's machine consists of, asked of the machine itself."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

EMULATORS = ("QEMU", "Bochs")
GUEST_POOL = "guests"


def describe_machine(**more: str) -> dict[str, str]:
    """Return the machine, and the versions of what runs on it; `more` comes first."""
    info = xl_info()
    cpu = read_field("/proc/cpuinfo", "model name", ":")
    maker = read_first_line("/sys/class/dmi/id/sys_vendor")
    emulated = any(name in f"{maker} {cpu}" for name in EMULATORS)
    return {
        **more,
        "emulated": "yes" if emulated else "no",
        "processor": f"{info.get('nr_cpus', '?')} x {cpu}",
        "memory": f"{info.get('total_memory', '?')} MiB",
        "dom0": f"{os.cpu_count()} vCPU, {read_field('/proc/meminfo', 'MemTotal', ':')}",
        "cpupool of guests": guest_pool(),
        "Xen": f"{info.get('xen_version', '?')}, scheduler {info.get('xen_scheduler', '?')}",
        "Linux": platform.release(),
        "programs": "at random addresses where they are timed; randomize_va_space is "
        + read_first_line("/proc/sys/kernel/randomize_va_space"),
        "system": read_field("/etc/os-release", "PRETTY_NAME", "=").strip('"'),
        "Python": platform.python_version(),
        "crun": first_line(["crun", "--version"]),
        "podman": first_line(["podman", "--version"]),
        "lvm": describe_lvm(Path(sys.executable).parent / "lvm"),
    }


@cache
def guest_pool() -> str:
    """Return the cpupool for guests of all toolstacks: `GUEST_POOL` where there is one of that name, else dom0's."""
    out = subprocess.run(["xl", "cpupool-list"], check=True, capture_output=True, text=True).stdout
    names = {line.split()[0] for line in out.splitlines()[1:]}
    return GUEST_POOL if GUEST_POOL in names else "Pool-0"


def xl_info() -> dict[str, str]:
    """Return what `xl info` says."""
    out = subprocess.run(["xl", "info"], check=True, capture_output=True, text=True).stdout
    pairs = (line.partition(":") for line in out.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def read_field(path: str, key: str, separator: str) -> str:
    """Return the value of a line ``key separator value`` of a file; "?" where there is none."""
    pattern = rf"^{re.escape(key)}\s*{re.escape(separator)}\s*(.*)$"
    found = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "?"


def read_first_line(path: str) -> str:
    """Return the first line of a file; "?" where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return "?"


def first_line(command: list[str]) -> str:
    """Return the first line that a command prints; "not installed" where there is none such."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        return "not installed"
    return done.stdout.partition("\n")[0]


def describe_lvm(path: Path) -> str:
    """Say whether `lvm` is a program or a script."""
    if not path.exists():
        return "not installed"
    with path.open("rb") as file:
        return "native" if file.read(4) == b"\x7fELF" else "Python"
