"""Guests of `xl`, as the yardstick."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.daemon import BRIDGE, NOOP, timed
from benchmarks.linux import KERNEL, MEMORY_MIB, cmdline, initrd
from benchmarks.machine import guest_pool
from benchmarks.programs import at_random_addresses, workshop


def write_config(name: str, *, vif: bool, linux_address: str | None = None) -> str:
    """Write the configuration of a guest, the `noop` unikernel or with an address a small Linux; return its file."""
    lines = [f'name = "{name}"', 'type = "pvh"', "vcpus = 1", f'pool = "{guest_pool()}"']
    if linux_address is None:
        lines += [f'kernel = "{NOOP}"', "memory = 4"]
    else:
        lines += [f'kernel = "{KERNEL}"', f'ramdisk = "{initrd()}"', f"memory = {MEMORY_MIB}"]
        lines.append(f'extra = "{cmdline(linux_address)}"')
    if vif:
        lines.append(f'vif = ["bridge={BRIDGE}"]')
    path = workshop() / f"{name}.cfg"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def create(config: str) -> float:
    """Run `xl create`; return how long it took, in ms."""
    with at_random_addresses():
        return timed(subprocess.run, ["xl", "create", "-q", config], check=True)


def destroy(name: str) -> float:
    """Run `xl destroy`; return how long it took, in ms."""
    with at_random_addresses():
        return timed(subprocess.run, ["xl", "destroy", name], check=True)


@contextmanager
def linux_guest(address: str) -> Iterator[str]:
    """Run a small Linux; yield its address."""
    create(write_config("bench-linux", vif=True, linux_address=address))
    try:
        yield address
    finally:
        destroy("bench-linux")
