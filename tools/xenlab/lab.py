"""A lab as an object: start it, run commands in its dom0, move files, end it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from . import transfer
from .boot import check_dom0, read_serial, wait_boot
from .cache import hold_lock
from .errors import LabError
from .host import RUN_PROGRAMS, require_programs
from .image import Image, open_image
from .process import ProcessId
from .progress import step
from .qemu import (
    Shape,
    link_boot_files,
    make_overlay,
    parse_memory,
    qemu_complaint,
    read_ssh_port,
    start_qemu,
    wait_socket,
)
from .qmp import Qmp
from .snapshot import Snapshot, open_snapshot
from .ssh import Ssh
from .state import LabState, forget_lab, lab_directory, list_labs, read_state, write_state
from .suites import DEFAULT_SUITE, find_suite

DEFAULT_NAME = "lab"
DEFAULT_MEMORY = "16G"
DEFAULT_CPUS = 2
RESUME_PATIENCE = 60.0


class Lab:
    """One Xen host in QEMU, found by its name.

    As a context manager it starts on entry and ends on exit; a lab whose owner died without ending
    it is ended by whoever starts the next one.
    """

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        *,
        suite: str = DEFAULT_SUITE,
        memory: str = DEFAULT_MEMORY,
        cpus: int = DEFAULT_CPUS,
        fresh: bool = False,
    ) -> None:
        self.name = name
        self.directory = lab_directory(name)
        self.shape = Shape(suite=find_suite(suite), memory=parse_memory(memory), cpus=cpus)
        self.fresh = fresh

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Self:
        """Return the running lab called `name`, or raise `not-running`."""
        lab = cls(name)
        state = lab.require_state()
        lab.shape = Shape(suite=find_suite(state.suite), memory=state.memory, cpus=state.cpus)
        return lab

    def __enter__(self) -> Self:
        self.up(owned=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.down()

    # Starting and ending

    def up(self, *, owned: bool = False, mirror: str | None = None, assume_yes: bool = False) -> None:
        """Start the lab and return when its dom0 answers; do nothing if it runs already.

        An `owned` lab belongs to this process and is ended once the process is gone.
        """
        require_programs(RUN_PROGRAMS, assume_yes=assume_yes)
        image = open_image(self.shape.suite, mirror=mirror, assume_yes=assume_yes)
        snapshot = None if self.fresh else open_snapshot(image, self.shape)
        end_abandoned_labs()
        with hold_lock(f"lab-{self.name}", patience=900.0):
            state = read_state(self.name)
            if state is not None and state.is_alive() and state.ready:
                self._check_same(state, image)
                return
            end_lab(self.name)
            try:
                self._start(image, snapshot, owned=owned)
            except BaseException:
                keep_logs(self.directory)
                end_lab(self.name)
                raise

    def down(self) -> None:
        """End the lab, whatever state it is in, and remove its disk."""
        with hold_lock(f"lab-{self.name}", patience=900.0):
            end_lab(self.name)

    def _check_same(self, state: LabState, image: Image) -> None:
        running = (state.suite, state.memory, state.cpus)
        if running != (self.shape.suite.name, self.shape.memory, self.shape.cpus) or self.fresh:
            raise LabError(
                "already-running",
                f"{self.name} runs {state.suite} with {state.memory}, {state.cpus} cpus; "
                f"end it first (down --name {self.name}) or choose another --name",
            )

    def _start(self, image: Image, snapshot: Snapshot | None, *, owned: bool) -> None:
        self.directory.mkdir(parents=True)
        link_boot_files(image, self.directory)
        if snapshot is None:
            make_overlay(image.directory / "disk.img", "raw", self.directory / "disk.qcow2")
        else:
            make_overlay(snapshot.directory / "disk.qcow2", "qcow2", self.directory / "disk.qcow2")
            (self.directory / "ram").symlink_to(snapshot.directory / "ram")
            (self.directory / "state").symlink_to(snapshot.directory / "state")
            shutil.copy(snapshot.directory / "serial.log", self.directory / "serial.log")
        fresh = snapshot is None
        process = start_qemu(
            self.directory, self.shape, ram_shared=fresh, incoming=not fresh, tied=False
        )
        try:
            self._record(process, image)
            self._bring_up(process, image, fresh=fresh, owned=owned)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def _record(self, process: subprocess.Popen[bytes], image: Image) -> None:
        identity = ProcessId.of(process.pid)
        if identity is None:
            raise LabError("qemu-died", qemu_complaint(self.directory))
        state = LabState(
            name=self.name,
            suite=self.shape.suite.name,
            memory=self.shape.memory,
            cpus=self.shape.cpus,
            image=image.key,
            qemu=identity,
            # While it starts, every lab belongs to the process that starts it.
            owner=ProcessId.of(os.getpid()),
            port=0,
            started=time.time(),
            ready=False,
        )
        write_state(state)

    def _bring_up(
        self, process: subprocess.Popen[bytes], image: Image, *, fresh: bool, owned: bool
    ) -> None:
        wait_socket(self.directory, process)
        with Qmp(self.directory) as qmp:
            if fresh:
                with step("boot"):
                    wait_boot(self.directory, process)
            else:
                resume(qmp)
            port = read_ssh_port(qmp)
        ssh = Ssh(self.directory, image, port)
        ssh.connect(timeout=RESUME_PATIENCE)
        check_dom0(ssh, timeout=RESUME_PATIENCE)
        state = self.require_state(ready=False)
        owner = state.owner if owned else None
        write_state(replace(state, port=port, ready=True, owner=owner))

    # Using

    def require_state(self, *, ready: bool = True) -> LabState:
        """Return the record of this lab, or raise `not-running` or `lab-died`."""
        state = read_state(self.name)
        if state is None:
            raise LabError("not-running", f"no lab {self.name!r} is running; start it with: up")
        if not state.is_alive():
            raise LabError("lab-died", f"QEMU of {self.name} has ended (see {self.directory})")
        if ready and not state.ready:
            raise LabError("not-running", f"{self.name} is still starting")
        return state

    @property
    def ssh(self) -> Ssh:
        """The way into this lab's dom0."""
        state = self.require_state()
        image = Image.of_key(state.image)
        return Ssh(self.directory, image, state.port)

    def run(
        self,
        command: Sequence[str] | str,
        *,
        check: bool = False,
        timeout: float = 120.0,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` in dom0; a string goes through a shell, a sequence does not.

        With `check`, a status other than 0 raises `command-failed`.
        """
        data = None if input is None else input.encode()
        done = self.ssh.run(command, timeout=timeout, input=data)
        out, err = (b.decode(errors="replace") for b in (done.stdout, done.stderr))
        if check and done.returncode != 0:
            shown = command if isinstance(command, str) else " ".join(command)
            reason = " | ".join((err.strip() or out.strip()).splitlines()[-3:])
            raise LabError("command-failed", f"{shown[:120]!r} ended {done.returncode}: {reason}")
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def push(self, *sources: str | os.PathLike[str], to: str) -> None:
        """Copy files and directories of the host into dom0's directory `to` (or file `to`)."""
        transfer.push(self.ssh, [Path(s) for s in sources], to)

    def pull(self, *sources: str, to: str | os.PathLike[str]) -> None:
        """Copy files and directories of dom0 into the host's directory `to` (or file `to`)."""
        transfer.pull(self.ssh, list(sources), os.fspath(to))


    def read_log(self, which: str) -> str:
        """Return the log called `which`: serial, xen or daemon."""
        if which == "serial":
            return read_serial(self.directory)
        line = {"xen": "xl dmesg", "daemon": "journalctl --no-pager -u lightvmd"}[which]
        return self.run(line, timeout=60).stdout


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
    state = read_state(name)
    if state is not None and state.is_alive():
        try:
            with Qmp(lab_directory(name), timeout=2.0) as qmp:
                qmp.execute("quit")
        except (OSError, LabError):
            pass  # a QEMU that does not listen is ended by its id
        if not state.qemu.wait_gone(3.0):
            state.qemu.end()
    forget_lab(name)


def end_abandoned_labs() -> None:
    """End every lab that belonged to a process which is gone."""
    for name in list_labs():
        state = read_state(name)
        if state is not None and state.owner is not None and not state.owner.is_alive():
            with hold_lock(f"lab-{name}", patience=60.0):
                end_lab(name)


def keep_logs(directory: Path) -> None:
    """Save the logs of a lab that did not come up."""
    target = directory.parent.parent / "failed" / directory.name
    shutil.rmtree(target, ignore_errors=True)
    for name in ("serial.log", "qemu.log", "ssh.log"):
        if (directory / name).exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(directory / name, target / name)
