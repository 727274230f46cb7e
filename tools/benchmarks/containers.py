"""A container of one static program, under crun and under podman."""

from __future__ import annotations

import functools
import json
import subprocess

from benchmarks.programs import compile_program, spawn, workshop

PROGRAM = "/resident"


class Bundle:
    """A root file system with one program, and the configuration that `crun spec` makes for it."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.directory = workshop() / f"bundle-{name}"
        self.root = self.directory / "rootfs"
        self.root.mkdir(parents=True)
        for place in ("dev", "proc", "sys"):
            (self.root / place).mkdir()
        program = self.root / PROGRAM[1:]
        program.write_bytes(compile_program("resident").read_bytes())
        program.chmod(0o755)
        subprocess.run(["crun", "spec"], cwd=self.directory, check=True)
        config = self.directory / "config.json"
        settings = json.loads(config.read_text())
        settings["process"] |= {"terminal": False, "args": [PROGRAM, *arguments]}
        config.write_text(json.dumps(settings))

    def crun(self, container: str) -> list[str]:
        """Return the command that runs it under crun."""
        return ["crun", "run", "--bundle", str(self.directory), container]

    def crun_detached(self, container: str) -> list[str]:
        """Return the command that starts it under crun, and leaves it running."""
        return ["crun", "run", "--detach", "--bundle", str(self.directory), container]


@functools.cache
def open_bundle(name: str, *arguments: str) -> Bundle:
    """Return the bundle of that name, made once."""
    return Bundle(name, *arguments)


def time_crun(n: int) -> list[float]:
    """Time `crun run`, from fork to the end of a container that ends at once."""
    once = open_bundle("once")
    return [took for _ in range(n) for took in spawn(1, *once.crun("bench-once"))]


def time_podman(n: int) -> list[float]:
    """Time `podman run` of the same container."""
    root = open_bundle("once").root
    command = ["podman", "run", "--rm", "--network=none", "--rootfs", str(root)]
    return spawn(n, *command, PROGRAM)


def destroy_container(name: str) -> None:
    """End a container of crun."""
    subprocess.run(["crun", "delete", "--force", name], check=True)
