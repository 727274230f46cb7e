"""What is on record about a running lab, so that every later command finds it."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from .cache import cache_root
from .errors import LabError
from .process import ProcessId


@dataclass(frozen=True, slots=True, kw_only=True)
class LabState:
    """The record of one lab; `ready` is false while it starts."""

    name: str
    suite: str
    memory: str
    cpus: int
    image: str
    qemu: ProcessId
    owner: ProcessId | None
    port: int
    started: float
    ready: bool
    one_thread: bool = False

    def is_alive(self) -> bool:
        """Tell whether the lab's QEMU runs."""
        return self.qemu.is_alive()


def lab_directory(name: str) -> Path:
    """Return the directory of the lab called `name`, or raise `bad-name`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}", name):
        raise LabError("bad-name", f"{name!r}: letters, digits and -_. only, 48 at most")
    return cache_root() / "labs" / name


def list_labs() -> list[str]:
    """Return the names of all labs on record, running or not."""
    directory = cache_root() / "labs"
    return sorted(p.name for p in directory.iterdir()) if directory.is_dir() else []


def write_state(state: LabState) -> None:
    """Put `state` on record."""
    directory = lab_directory(state.name)
    partial = directory / "lab.json.new"
    partial.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, directory / "lab.json")


def read_state(name: str) -> LabState | None:
    """Return what is on record about the lab called `name`, None if nothing useful is."""
    try:
        found = json.loads((lab_directory(name) / "lab.json").read_text(encoding="utf-8"))
        owner = found.pop("owner")
        return LabState(
            qemu=ProcessId(**found.pop("qemu")),
            owner=None if owner is None else ProcessId(**owner),
            **found,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def forget_lab(name: str) -> None:
    """Remove the lab's directory, with the disk it wrote."""
    directory = lab_directory(name)
    if directory.exists():
        shutil.rmtree(directory)
