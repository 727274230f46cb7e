"""The machine at rest that every lab of one shape starts from.

A snapshot is a directory of the cache: the memory as a sparse file, the state of the devices, and
the disk.  None of them is written again, so any number of labs run from one snapshot, each with
copies of the pages and blocks it changes.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .boot import check_dom0, tail_of, wait_boot
from .cache import build_once, cache_root, find_built, hash_inputs
from .errors import LabError
from .image import Image
from .progress import say, step
from .qemu import (
    Shape,
    Start,
    link_boot_files,
    make_overlay,
    qemu_command,
    qemu_version,
    read_ssh_port,
    start_qemu,
    wait_socket,
)
from .qmp import Qmp
from .ssh import Ssh

SAVE_PATIENCE = 300.0

# Leaves the machine as a test wants to find it: what every session uses is in the page cache, the
# disk is up to date (unsynced files would come back empty), and nothing is still starting.
SETTLE = """
systemctl is-system-running --wait >/dev/null 2>&1
systemctl --failed --no-legend --plain
xl list >/dev/null && xl info >/dev/null && python3 -c 'import json, socket, subprocess'
journalctl --flush >/dev/null 2>&1
fstrim / ; sync
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A finished snapshot: `ram`, `state`, `disk.qcow2` and `serial.log` in one directory."""

    directory: Path
    key: str


def snapshot_key(image: Image, shape: Shape) -> str:
    """Return the key of the snapshot of `image` in `shape` under this machine's QEMU."""
    command = "\0".join(qemu_command(shape, Start.SAVE))
    inputs = (image.key, qemu_version(), command, Path(__file__).read_bytes())
    return f"{shape.suite.name}-{hash_inputs(*inputs)}"


def open_snapshot(image: Image, shape: Shape) -> Snapshot:
    """Return the snapshot of `image` in `shape`, booting the image once if there is none."""
    key = snapshot_key(image, shape)
    directory = find_built("snapshots", key)
    if directory is None:
        say(f"booting {shape.suite.name} with {shape.memory}, {shape.cpus} cpus, once (a minute)")
        directory = build_once("snapshots", key, lambda target: take(image, shape, target))
    return Snapshot(directory=directory, key=key)


def take(image: Image, shape: Shape, target: Path) -> None:
    """Boot `image`, let it settle, and save the machine into `target`; a boot that fails is tried once more."""
    try:
        take_once(image, shape, target)
    except LabError as exc:
        say(f"that boot has failed: {exc}; once more")
        for leftover in target.iterdir():
            leftover.unlink()
        take_once(image, shape, target)


def take_once(image: Image, shape: Shape, target: Path) -> None:
    """Boot `image` and save the machine; raises `LabError`."""
    link_boot_files(image, target)
    make_overlay(image.directory / "disk.img", "raw", target / "disk.qcow2")
    process = start_qemu(target, shape, Start.SAVE)
    try:
        wait_socket(target, process)
        with Qmp(target) as qmp:
            with step("first boot"):
                wait_boot(target, process)
            with step("settling"):
                settle(image, target, read_ssh_port(qmp))
            with step("saving the machine"):
                save(qmp, target)
                process.wait(timeout=60)
                drop_zero_pages(target / "ram")
    except BaseException:
        keep_serial_log(target)
        raise
    finally:
        process.kill()
        process.wait()
    for name in ("xen", "vmlinuz", "initrd.img", "qmp.sock", "qemu.log", "ssh.log"):
        (target / name).unlink(missing_ok=True)


def settle(image: Image, target: Path, port: int) -> None:
    """Bring the booted machine to rest."""
    ssh = Ssh(target, image, port)
    try:
        ssh.connect(timeout=120)
        check_dom0(ssh, timeout=120)
        done = ssh.run(SETTLE, timeout=300)
        failed = done.stdout.decode(errors="replace").split("\n")[0].strip()
        if failed:
            raise LabError("boot-failed", f"a service failed in dom0: {failed}{tail_of(target)}")
    finally:
        ssh.disconnect()
    # The server's side of the connection ends a moment later, and must not be part of the state.
    time.sleep(1.0)


def save(qmp: Qmp, target: Path) -> None:
    """Write the machine's state, without the memory (which is a file already), and quit."""
    qmp.execute("stop")
    capability = {"capability": "x-ignore-shared", "state": True}
    qmp.execute("migrate-set-capabilities", capabilities=[capability])
    qmp.execute("migrate", uri=f"exec:cat > {shlex.quote(str(target / 'state'))}")
    qmp.wait_status("query-migrate", {"completed"}, {"failed", "cancelled"}, SAVE_PATIENCE)
    qmp.execute("quit")


def drop_zero_pages(ram: Path) -> None:
    """Make the memory file sparse wherever it holds zeros."""
    subprocess.run(["fallocate", "--dig-holes", str(ram)], check=True, timeout=SAVE_PATIENCE)


def keep_serial_log(target: Path) -> None:
    """Save the serial console of a failed boot, whose directory is about to go."""
    if (target / "serial.log").exists():
        shutil.copy(target / "serial.log", cache_root() / "boot-failed.log")
