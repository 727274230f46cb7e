"""Starts QEMU as a Xen host; how the virtual machine is put together is written here only."""

from __future__ import annotations

import enum
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .image import Image
from .qmp import Qmp
from .suites import KERNEL_ARGS, XEN_ARGS, Suite

QEMU = "qemu-system-x86_64"
START_PATIENCE = 120.0
"""In seconds: it may have all memory to prepare before it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What sort of host a lab is.

    With `instructions` its clock counts them. With `one_thread` one thread runs all its processors in turn. Where it is
    `preallocated`, all of its memory is there before it starts, which is then from power-on.
    """

    suite: Suite
    memory: str
    cpus: int
    instructions: bool = False
    one_thread: bool = False
    preallocated: bool = False


class Start(enum.Enum):
    """Why a machine is started."""

    SAVE = enum.auto()
    RESUME = enum.auto()
    FRESH = enum.auto()


# The memory of a machine to be saved is a file, written through; each machine resumed from it
# copies the pages that it changes.
MEMORY = {
    Start.SAVE: "memory-backend-file,id=ram,size={size},mem-path=ram,share=on",
    Start.RESUME: "memory-backend-file,id=ram,size={size},mem-path=ram,share=off",
    Start.FRESH: "memory-backend-ram,id=ram,size={size}",
}


# 16 GiB may well be more than the host has, but a lab touches only a small part.
ON_DEMAND, PREALLOCATED = "reserve=off", "prealloc=on,prealloc-threads=2"


def parse_memory(text: str) -> str:
    """Check a memory size such as 16G or 4096M; return it in QEMU's spelling."""
    match = re.fullmatch(r"([1-9][0-9]*)([MG])(?:i?B)?", text)
    if not match:
        raise LabError("bad-memory", f"{text!r} is not a size like 16G or 6144M")
    mebibytes = int(match[1]) * (1024 if match[2] == "G" else 1)
    if mebibytes < 3072:
        raise LabError("bad-memory", f"{text} is too little: dom0 alone takes 2G, 3G is the least")
    return f"{mebibytes}M"


def qemu_version() -> str:
    """Return the first line of QEMU's version: saved machines belong to one QEMU."""
    shown = subprocess.run([QEMU, "--version"], capture_output=True, text=True, timeout=30)
    return shown.stdout.partition("\n")[0]


def qemu_command(shape: Shape, start: Start) -> list[str]:
    """Return QEMU's command line.

    All files have fixed names in its working directory, so no path ever needs the quoting of
    QEMU's options.
    """
    command = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"]
    # thread=multi: one host thread per virtual CPU, under which a guest is lost now and then
    # (docs/lab.md).  What is saved is the same for both.  qemu64 because richer models (max, EPYC)
    # make dom0 crash early; svm and npt are what HVM and PVH guests need.
    one_thread = shape.instructions or (shape.one_thread and start is not Start.SAVE)
    threads = "single" if one_thread else "multi"
    # tb-size: as much as QEMU takes, in MiB. When it is full QEMU translates everything anew.
    command += ["-accel", f"tcg,thread={threads},tb-size=2048", "-cpu", "qemu64,+svm,+npt"]
    if shape.instructions:
        # One instruction, one nanosecond; where all processors wait, time leaps to the next timer.
        command += ["-icount", "shift=0,sleep=off"]
    command += ["-smp", str(shape.cpus), "-m", shape.memory]
    command += ["-machine", "pc,memory-backend=ram"]
    preallocated = shape.preallocated and start is Start.FRESH
    taken = PREALLOCATED if preallocated else ON_DEMAND
    command += ["-object", f"{MEMORY[start].format(size=shape.memory)},{taken}"]
    command += ["-kernel", "xen", "-append", XEN_ARGS]
    command += ["-initrd", f"vmlinuz {KERNEL_ARGS},initrd.img"]
    command += ["-drive", "file=disk.qcow2,format=qcow2,if=none,id=disk,discard=unmap,cache=unsafe"]
    command += ["-device", "virtio-blk-pci,drive=disk"]
    # Port 0: the kernel chooses a free one, which cannot be snatched away in between.
    command += ["-netdev", "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22"]
    command += ["-device", "virtio-net-pci,netdev=net,romfile="]
    command += ["-device", "virtio-rng-pci"]
    command += ["-chardev", "file,id=serial,path=serial.log,append=on", "-serial", "chardev:serial"]
    command += ["-qmp", "unix:qmp.sock,server=on,wait=off"]
    if start is Start.RESUME:
        command += ["-incoming", "defer"]
    elif preallocated:
        command += ["-S"]  # until all is there
    return command


def link_boot_files(image: Image, directory: Path) -> None:
    """Give `directory` the names that QEMU's command line uses."""
    for name in ("xen", "vmlinuz", "initrd.img"):
        (directory / name).symlink_to(image.directory / name)


def make_overlay(backing: Path, backing_format: str, overlay: Path) -> None:
    """Make `overlay`, which holds what a machine changes in the frozen disk `backing`."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", backing_format, "-b", str(backing)]
    done = subprocess.run([*command, str(overlay)], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise LabError("disk-failed", done.stderr.strip().replace("\n", "; "))


def start_qemu(directory: Path, shape: Shape, start: Start) -> subprocess.Popen[bytes]:
    """Start QEMU in `directory`.

    A machine started to be saved dies with this process, whatever ends it; any other is the
    caller's to end.
    """
    command = qemu_command(shape, start)
    if start is Start.SAVE:
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    with (directory / "qemu.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_socket(directory: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until QEMU listens on its control socket."""
    deadline = time.monotonic() + START_PATIENCE
    while not (directory / "qmp.sock").exists():
        if process.poll() is not None:
            raise LabError("qemu-died", qemu_complaint(directory))
        if time.monotonic() > deadline:
            raise LabError("timeout", f"QEMU did not start in {START_PATIENCE:.0f} s")
        time.sleep(0.01)


def qemu_complaint(directory: Path) -> str:
    """Return the last line that QEMU wrote about itself."""
    try:
        lines = (directory / "qemu.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "QEMU ended without a word"


def read_ssh_port(qmp: Qmp) -> int:
    """Return the loopback port that leads to the lab's ssh server."""
    shown = qmp.execute("human-monitor-command", **{"command-line": "info usernet"})
    match = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", str(shown))
    if not match:
        raise LabError("qemu-refused", f"no forwarded port in {shown!r}")
    return int(match[1])
