"""The same configuration given to `lightvm` and to `xl`."""

from __future__ import annotations

import os
import pty
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


class XlConsole:
    """`xl console` on a terminal, without which it does not hear."""

    def __init__(self, name: str) -> None:
        self._terminal, theirs = pty.openpty()
        os.set_blocking(self._terminal, False)
        self._process = subprocess.Popen(
            ["xl", "console", name], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
        )
        os.close(theirs)

    @property
    def is_attached(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def read(self) -> bytes:
        """Return what has come since, if anything."""
        with suppress(OSError):  # nothing yet, or nothing any more
            return os.read(self._terminal, 65536)
        return b""

    def write(self, line: bytes) -> None:
        """Type a line."""
        os.write(self._terminal, line)

    def close(self) -> None:
        """Detach."""
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


class Xl:
    """xl, which leaves the console to a process that is attached to it."""

    def __init__(self) -> None:
        self._consoles: dict[str, XlConsole] = {}
        self._heard: dict[str, bytes] = {}

    def create(self, config: Path) -> None:
        """Make a guest."""
        subprocess.run(["xl", "create", "-q", config], check=True, timeout=300)

    def heard(self, name: str) -> bytes:
        """Return what has come so far; a guest that is made anew has a new console."""
        console = self._consoles.get(name)
        if console is None or not console.is_attached:
            if console is not None:
                console.close()
            console = self._consoles[name] = XlConsole(name)
            time.sleep(1)
        self._heard[name] = self._heard.get(name, b"") + console.read()
        return self._heard[name]

    def say(self, name: str, line: bytes) -> None:
        """Type a line."""
        self._consoles[name].write(line)

    def destroy(self, name: str) -> None:
        """End a guest; it may have ended by itself."""
        subprocess.run(["xl", "destroy", name], check=False, timeout=120)
        assert subprocess.run(["xl", "domid", name], check=False, capture_output=True).returncode
        if (console := self._consoles.pop(name, None)) is not None:
            console.close()
        self._heard.pop(name, None)
