"""Starts and ends the QEMU of a lab, and keeps its record true at every step between."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from .boot import check_dom0, wait_boot
from .cache import cache_root, hold_lock
from .errors import LabError
from .image import Image
from .interrupts import deferred_signals
from .process import ProcessId
from .progress import step
from .qemu import (
    START_PATIENCE,
    Shape,
    Start,
    link_boot_files,
    make_overlay,
    qemu_complaint,
    read_ssh_port,
    start_qemu,
    wait_socket,
)
from .qmp import Qmp
from .snapshot import Snapshot
from .ssh import Ssh
from .state import LabState, forget_lab, lab_directory, list_labs, read_state, write_state
from .translations import populate_translations

RESUME_PATIENCE = 60.0


def start_lab(
    name: str, shape: Shape, image: Image, snapshot: Snapshot | None, *, owned: bool
) -> None:
    """Start the lab from `snapshot`, or from power-on without one, until its dom0 answers.

    The caller holds the lab's lock.  A start that fails, however, leaves nothing running; its logs
    are kept.
    """
    try:
        directory = lab_directory(name)
        directory.mkdir(parents=True)
        lay_out(directory, image, snapshot)
        start = Start.FRESH if snapshot is None else Start.RESUME
        with deferred_signals():
            process = start_qemu(directory, shape, start)
            state = record(name, shape, image, process)
        port = bring_up(directory, image, process, start, preallocated=shape.preallocated)
        write_state(replace(state, port=port, ready=True, owner=state.owner if owned else None))
    except BaseException:
        keep_logs(name)
        end_lab(name)
        raise


def lay_out(directory: Path, image: Image, snapshot: Snapshot | None) -> None:
    """Put the files that QEMU expects into the lab's directory."""
    link_boot_files(image, directory)
    if snapshot is None:
        make_overlay(image.directory / "disk.img", "raw", directory / "disk.qcow2")
        return
    make_overlay(snapshot.directory / "disk.qcow2", "qcow2", directory / "disk.qcow2")
    (directory / "ram").symlink_to(snapshot.directory / "ram")
    (directory / "state").symlink_to(snapshot.directory / "state")
    # The console's story begins with the boot, which happened in another QEMU.
    shutil.copy(snapshot.directory / "serial.log", directory / "serial.log")


def record(name: str, shape: Shape, image: Image, process: subprocess.Popen[bytes]) -> LabState:
    """Put the new QEMU on record, or end it."""
    try:
        identity = ProcessId.of(process.pid)
        if identity is None:
            raise LabError("qemu-died", qemu_complaint(lab_directory(name)))
        state = LabState(
            name=name,
            suite=shape.suite.name,
            memory=shape.memory,
            cpus=shape.cpus,
            image=image.key,
            qemu=identity,
            # Until it is up, every lab belongs to the process that starts it.
            owner=ProcessId.of(os.getpid()),
            port=0,
            started=time.time(),
            ready=False,
            one_thread=shape.one_thread,
        )
        write_state(state)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return state


def bring_up(
    directory: Path,
    image: Image,
    process: subprocess.Popen[bytes],
    start: Start,
    *,
    preallocated: bool,
) -> int:
    """See the machine through its boot or resume; return its ssh port."""
    wait_socket(directory, process)
    try:
        with Qmp(directory, timeout=START_PATIENCE) as qmp:
            if start is Start.FRESH:
                if preallocated:
                    populate_translations(process.pid)
                    qmp.execute("cont")
                with step("boot"):
                    wait_boot(directory, process)
            else:
                resume(qmp)
            port = read_ssh_port(qmp)
        ssh = Ssh(directory, image, port)
        ssh.connect(timeout=RESUME_PATIENCE)
        check_dom0(ssh, timeout=RESUME_PATIENCE)
    except LabError as error:
        if process.poll() is None:
            raise
        raise LabError("qemu-died", qemu_complaint(directory)) from error
    return port


def resume(qmp: Qmp) -> None:
    """Load the saved machine and let it run."""
    capability = {"capability": "x-ignore-shared", "state": True}
    qmp.execute("migrate-set-capabilities", capabilities=[capability])
    # The working directory of QEMU is the lab's, where `state` is a link.
    qmp.execute("migrate-incoming", uri="exec:cat state")
    qmp.wait_status("query-status", {"paused", "running"}, {"internal-error"}, RESUME_PATIENCE)
    qmp.execute("cont")


def end_lab(name: str) -> None:
    """End the lab's QEMU and remove its directory; the caller holds the lab's lock."""
    directory = lab_directory(name)
    state = read_state(name)
    qemu = None if state is None else state.qemu
    patience = 0.0
    try:
        with Qmp(directory, timeout=2.0) as qmp:
            # Also finds a QEMU whose starter was killed before it could write the record.
            qemu = qmp.peer() or qemu
            qmp.execute("quit")
            patience = 3.0
    except (OSError, LabError):
        pass  # nothing listens: what still runs is ended by its id
    if qemu is not None and not qemu.wait_gone(patience):
        qemu.end()
    forget_lab(name)


def end_abandoned_labs() -> None:
    """End every lab that belonged to a process which is gone."""
    for name in list_labs():
        if is_abandoned(read_state(name)):
            with hold_lock(f"lab-{name}", patience=60.0):
                # Somebody else may have been faster, and have started it anew.
                if is_abandoned(read_state(name)):
                    end_lab(name)


def is_abandoned(state: LabState | None) -> bool:
    """Tell whether the process that the lab belongs to is gone."""
    return state is not None and state.owner is not None and not state.owner.is_alive()


def keep_logs(name: str) -> None:
    """Save the logs of a lab that did not come up."""
    source, target = lab_directory(name), cache_root() / "failed" / name
    shutil.rmtree(target, ignore_errors=True)
    for log in ("serial.log", "qemu.log", "ssh.log"):
        if (source / log).exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / log, target / log)
