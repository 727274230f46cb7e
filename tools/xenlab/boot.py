"""Waits for a dom0: from power-on until it answers, with the reason when it never does."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from .errors import LabError
from .qemu import qemu_complaint
from .ssh import Ssh

BOOT_PATIENCE = 600.0
READY_WORD = "lab: services are up"
DEATH_WORDS = ("Panic on CPU", "Kernel panic", "You are in emergency mode", "Domain 0 crashed")


def wait_boot(directory: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the serial console says that dom0's services are up."""
    deadline = time.monotonic() + BOOT_PATIENCE
    while True:
        text = read_serial(directory)
        if READY_WORD in text:
            return
        for word in DEATH_WORDS:
            if word in text:
                raise LabError("boot-failed", f"{word!r} on the serial console{tail_of(directory)}")
        if process.poll() is not None:
            raise LabError("qemu-died", qemu_complaint(directory))
        if time.monotonic() > deadline:
            raise LabError(
                "timeout",
                f"no dom0 after {BOOT_PATIENCE:.0f} s; serial console{tail_of(directory)}",
            )
        time.sleep(0.2)


def wait_services(ssh: Ssh) -> None:
    """Wait until dom0 has booted again and its services are up, or have failed."""
    ssh.connect(timeout=BOOT_PATIENCE)
    ssh.run("systemctl is-system-running --wait", timeout=BOOT_PATIENCE)


def check_dom0(ssh: Ssh, *, timeout: float) -> None:
    """Set dom0's clock, stir its random numbers, and make sure that Xen answers there."""
    # Labs of one snapshot would otherwise all draw the same numbers.  `xl list` uses xenstored and
    # the privileged interface, so it proves both.
    line = f"cat > /dev/urandom; date -s @{time.time():.3f} >/dev/null && xl list >/dev/null"
    done = ssh.run(line, timeout=timeout, data=os.urandom(64))
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().replace("\n", "; ")
        raise LabError("xen-failed", f"xl list failed in dom0: {reason}")


def read_serial(directory: Path) -> str:
    """Return what the serial console has shown so far."""
    try:
        return (directory / "serial.log").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def tail_of(directory: Path) -> str:
    """Return the end of the serial console for an error's single line, and where the rest is."""
    lines = [line.strip() for line in read_serial(directory).splitlines() if line.strip()]
    return f" ends: {' | '.join(lines[-3:])} (see {directory / 'serial.log'})"
