"""A lab as an object: start it, run commands in its dom0, move files, end it."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from . import install, transfer
from .boot import check_dom0, read_serial, wait_services
from .cache import hold_lock
from .errors import LabError
from .host import RUN_PROGRAMS, require_programs
from .image import Image, open_image
from .pinning import pin_processors
from .progress import step
from .qemu import Shape, make_overlay, parse_memory
from .qmp import Qmp
from .running import RESUME_PATIENCE, end_abandoned_labs, end_lab, start_lab
from .snapshot import Snapshot, open_snapshot
from .ssh import Ssh
from .state import LabState, lab_directory, read_state, write_state
from .suites import DEFAULT_SUITE, find_suite
from .wheels import PROJECT

DEFAULT_NAME = "lab"
DEFAULT_MEMORY = "16G"
DEFAULT_CPUS = 2
LOCK_PATIENCE = 900.0

LOGS = {
    "xen": "xl dmesg",
    "daemon": "journalctl --no-pager -u lightvmd",
    "journal": "journalctl --no-pager -b",
    "tests": "tail -v -n 3000 /tmp/pytest-of-root/pytest-*/*/daemon.log 2>/dev/null || true",
}


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
        instructions: bool = False,
        one_thread: bool = False,
        preallocated: bool = False,
    ) -> None:
        self.name = name
        self.directory = lab_directory(name)
        self.shape = Shape(
            suite=find_suite(suite),
            memory=parse_memory(memory),
            cpus=cpus,
            instructions=instructions,
            one_thread=one_thread,
            preallocated=preallocated,
        )
        self.fresh = fresh or preallocated

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Self:
        """Return the running lab called `name`, or raise `not-running` or `lab-died`."""
        lab = cls(name)
        state = lab.require_state()
        lab.shape = Shape(suite=find_suite(state.suite), memory=state.memory, cpus=state.cpus)
        return lab

    def __enter__(self) -> Self:
        self.up(owned=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.down()

    def up(
        self, *, owned: bool = False, mirror: str | None = None, assume_yes: bool = False
    ) -> None:
        """Start the lab and return when its dom0 answers; do nothing if it runs already.

        An `owned` lab belongs to this process: it must not run yet, and it is ended, at the latest
        by the next start of any lab, once the process is gone.
        """
        image, snapshot = self.prepare(mirror=mirror, assume_yes=assume_yes)
        end_abandoned_labs()
        with self._lock():
            state = read_state(self.name)
            if state is not None and state.is_alive() and state.ready:
                self._check_reusable(state, owned=owned)
                return
            end_lab(self.name)
            start_lab(self.name, self.shape, image, snapshot, owned=owned)

    def prepare(
        self, *, mirror: str | None = None, assume_yes: bool = False
    ) -> tuple[Image, Snapshot | None]:
        """Return what the lab starts from, built where it is missing: an image, and a snapshot unless it is `fresh`."""
        require_programs(RUN_PROGRAMS, assume_yes=assume_yes)
        image = open_image(self.shape.suite, mirror=mirror, assume_yes=assume_yes)
        return image, None if self.fresh else open_snapshot(image, self.shape)

    def reset(self) -> None:
        """Do to the host what a power cut does, and return when its dom0 answers again: only its disk is as it was.

        Raises `timeout` where it does not come back.
        """
        with self._lock():
            state, ssh = self.require_state(), self.ssh
            with Qmp(self.directory) as qmp, step("boot"):
                qmp.execute("system_reset")
                ssh.disconnect()
                wait_services(ssh)
            check_dom0(ssh, timeout=RESUME_PATIENCE)
            write_state(replace(state, started=time.time()))

    def pin_processors(self) -> bool:
        """Give each processor of the lab one of this machine's own; False, and no change, where it has too few."""
        with self._lock(), Qmp(self.directory) as qmp:
            return pin_processors(qmp)

    def down(self) -> None:
        """End the lab, whatever state it is in, and remove its disk."""
        with self._lock():
            end_lab(self.name)

    def _lock(self) -> AbstractContextManager[None]:
        waiting = f"waiting for another command on {self.name}"
        return hold_lock(f"lab-{self.name}", patience=LOCK_PATIENCE, waiting=waiting)

    def _check_reusable(self, state: LabState, *, owned: bool) -> None:
        shape = self.shape
        same = (state.suite, state.memory, state.cpus, state.one_thread) == (
            shape.suite.name,
            shape.memory,
            shape.cpus,
            shape.one_thread,
        )
        if self.fresh or owned or not same:
            raise LabError(
                "already-running",
                f"{self.name} runs {state.suite} with {state.memory}, {state.cpus} cpus"
                f"{', in one thread' if state.one_thread else ''}; "
                f"end it first (down --name {self.name}) or choose another name",
            )

    def require_state(self) -> LabState:
        """Return the record of this lab, or raise `not-running` or `lab-died`."""
        state = read_state(self.name)
        if state is None:
            raise LabError("not-running", f"no lab {self.name!r} is running; start it with: up")
        if not state.is_alive():
            raise LabError("lab-died", f"QEMU of {self.name} has ended (see {self.directory})")
        if not state.ready:
            raise LabError("not-running", f"{self.name} is still starting")
        return state

    @property
    def ssh(self) -> Ssh:
        """The way into this lab's dom0."""
        state = self.require_state()
        return Ssh(self.directory, Image.of_key(state.image), state.port)

    def run(
        self,
        command: Sequence[str] | str,
        *,
        check: bool = False,
        timeout: float = 120.0,
        data: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` in dom0, with `data` as its input.

        A string goes through a shell, a sequence does not.

        With `check`, a status other than 0 raises `command-failed`.  After `timeout` seconds the
        command is killed in dom0 and `timeout` raised.
        """
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        shown = shlex.join(argv) if not isinstance(command, str) else command
        started = time.monotonic()
        limit = ["timeout", "--kill-after=5", str(math.ceil(timeout)), *argv]
        # The limit inside dom0 leaves nothing running there; ours is for a dom0 that hangs.
        done = self.ssh.run(limit, timeout=timeout + 15.0, data=data.encode())
        if done.returncode in (124, 137) and time.monotonic() - started >= timeout:
            raise LabError("timeout", f"{shown[:120]!r} ran over {timeout:.0f} s in dom0")
        out, err = (data.decode(errors="replace") for data in (done.stdout, done.stderr))
        if check and done.returncode != 0:
            reason = " | ".join((err.strip() or out.strip()).splitlines()[-3:])
            raise LabError("command-failed", f"{shown[:120]!r} ended {done.returncode}: {reason}")
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def push(self, *sources: str | os.PathLike[str], to: str) -> None:
        """Copy files and directories of the host to `to` in dom0, like cp -a."""
        transfer.push(self.ssh, [os.fspath(source) for source in sources], to)

    def pull(self, *sources: str, to: str | os.PathLike[str]) -> None:
        """Copy files and directories of dom0 to `to` on the host, like cp -a."""
        transfer.pull(self.ssh, sources, os.fspath(to))

    def install(self, tree: Path = PROJECT) -> None:
        """Install the project, as it is in this tree or another one now, in dom0's /opt/lightvm."""
        state = self.require_state()
        install.install(self.ssh, self.shape.suite, state.image, tree)

    def attach(self, drive: Path) -> None:
        """Plug a raw disk in; what dom0 writes there is gone with the lab.

        Raises `timeout` where dom0 does not find it.
        """
        number = len(list(self.directory.glob("drive*.qcow2")))
        name = f"drive{number}"
        make_overlay(drive, "raw", self.directory / f"{name}.qcow2")
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        with Qmp(self.directory) as qmp:
            qmp.execute("blockdev-add", **{"node-name": name}, driver="qcow2", file=file)
            qmp.execute("device_add", driver="virtio-blk-pci", drive=name, serial=name)
        device = f"/dev/disk/by-id/virtio-{name}"
        self.run(f"until [ -e {device} ]; do sleep 0.2; done; udevadm settle", check=True)

    def read_log(self, which: str) -> str:
        """Return a log: `serial`, `xen` (xl dmesg), `daemon` (of lightvmd) or `journal` (all)."""
        if which == "serial":
            return read_serial(self.directory)
        return self.run(LOGS[which], timeout=60.0).stdout

    def collect(self, target: Path) -> list[str]:
        """Save every log into `target`; return what could not be had, one line each."""
        target.mkdir(parents=True, exist_ok=True)
        missing = []
        for which in ("serial", *LOGS):
            try:
                text = self.read_log(which)
            except (LabError, OSError) as error:
                missing.append(f"{which}: {error}")
                continue
            (target / f"{which}.log").write_text(text, encoding="utf-8")
        return missing
