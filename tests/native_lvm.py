"""The native ``lvm``, built for tests and installed as an installer would do it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "native/client"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_FLAGS = ("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror")

_LIGHTVM = """\
#!{python}
import json, os, sys
sys.path.insert(0, {root!r})
with open({log!r}, "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
from lightvm.cli.main import main
sys.exit(main())
"""


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def build_lvm(program: Path, *flags: str) -> Path:
    """Compile and link the program."""
    command = [os.environ.get("CC", "gcc"), *_FLAGS, *flags, "-o", program]
    done = subprocess.run(
        [*command, *sorted(CLIENT.glob("*.c"))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program


def can_link_statically(program: Path) -> bool:
    """Whether this machine has a static C library."""
    command = [os.environ.get("CC", "gcc"), "-static", "-x", "c", "-o", program, "-"]
    source = "int main(void) { return 0; }"
    done = subprocess.run(
        command, input=source, text=True, capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0


class Installed:
    """A folder ``bin`` with ``lvm``, and beside it a ``lightvm`` that keeps a record of its calls."""

    def __init__(self, program: Path, prefix: Path) -> None:
        """Install a program that was built."""
        self.folder = prefix / "bin"
        self.folder.mkdir(parents=True)
        self.lvm = self.folder / "lvm"
        self._log = prefix / "handed-over"
        shutil.copy2(program, self.lvm)
        lightvm = self.folder / "lightvm"
        lightvm.write_text(
            _LIGHTVM.format(python=sys.executable, root=str(ROOT), log=str(self._log))
        )
        lightvm.chmod(0o755)

    def taken_over(self) -> list[list[str]]:
        """Return the command lines that were handed to Python since the last call."""
        if not self._log.exists():
            return []
        lines = self._log.read_text().splitlines()
        self._log.unlink()
        return [json.loads(line) for line in lines]

    def run(
        self, *args: object, cwd: Path | None = None, program: Sequence[object] = (), **more: str
    ) -> Done:
        """Run ``lvm``, or another program in its place, with some more variables in its environment."""
        done = subprocess.run(
            [*map(str, program or (self.lvm,)), *map(str, args)],
            cwd=cwd,
            env=clean_environment() | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def clean_environment() -> dict[str, str]:
    """Return what a command needs of the environment, and nothing that changes what it does."""
    return {"PATH": "/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
