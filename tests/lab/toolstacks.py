"""The same configuration given to `lightvm` and to `xl`."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from lightvm.blocking import Client
from lightvm.errors import NoSuchDomain
from tests.lab.daemon import command


class Toolstack(Protocol):
    """What makes guests of configurations."""

    def create(self, config: Path) -> None:
        """Make a guest and let it run."""

    def heard(self, name: str) -> bytes:
        """Return what a guest has said on its console since it was made."""

    def say(self, name: str, line: bytes) -> None:
        """Type a line on a guest's console."""

    def destroy(self, name: str) -> None:
        """End a guest."""


class Lightvm:
    """LightVM."""

    def __init__(self, client: Client, socket: str) -> None:
        self._client = client
        self._socket = socket

    def create(self, config: Path) -> None:
        """Make a guest."""
        command("create", str(config), socket=self._socket)

    def heard(self, name: str) -> bytes:
        """Return all that is kept of the console."""
        with suppress(NoSuchDomain):  # for a moment, where it is restarted
            return self._client.console_read(name).data
        return b""

    def say(self, name: str, line: bytes) -> None:
        """Type a line."""
        self._client.console_write(name, line)

    def destroy(self, name: str) -> None:
        """End a guest."""
        self._client.destroy(name)


class Xl:
    """xl, which leaves the console to a process that is attached to it."""

    def __init__(self) -> None:
        self._consoles: dict[str, subprocess.Popen[bytes]] = {}
        self._heard: dict[str, bytes] = {}

    def create(self, config: Path) -> None:
        """Make a guest."""
        subprocess.run(["xl", "create", "-q", config], check=True, timeout=300)

    def heard(self, name: str) -> bytes:
        """Return what has come so far; a guest that is made anew has a new console."""
        console = self._consoles.get(name)
        if console is None or console.poll() is not None:
            console = self._consoles[name] = subprocess.Popen(
                ["xl", "console", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert console.stdout is not None
            os.set_blocking(console.stdout.fileno(), False)
            time.sleep(1)
        assert console.stdout is not None
        self._heard[name] = self._heard.get(name, b"") + (console.stdout.read() or b"")
        return self._heard[name]

    def say(self, name: str, line: bytes) -> None:
        """Type a line."""
        console = self._consoles[name]
        assert console.stdin is not None
        console.stdin.write(line)
        console.stdin.flush()

    def destroy(self, name: str) -> None:
        """End a guest."""
        subprocess.run(["xl", "destroy", name], check=True, timeout=120)
        if (console := self._consoles.pop(name, None)) is not None:
            console.kill()
            console.wait()
        self._heard.pop(name, None)
