"""Commands and files into a lab and back, over one multiplexed ssh connection.

An ssh handshake takes seconds under emulation, so it is made once per lab; everything after it
goes through the same connection and costs only the command itself.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import LabError
from .image import Image


class Ssh:
    """The way into one lab: its port, its key, and its shared connection in `directory`."""

    def __init__(self, directory: Path, image: Image, port: int) -> None:
        self.directory = directory
        self._command = ["ssh", "-F", "none", "-p", str(port), "-l", "root"]
        self._command += ["-i", str(image.ssh_key)]
        options = {
            "HostName": "127.0.0.1",
            # Relative to the working directory of ssh: a Unix socket's path must be short.
            "ControlPath": "ssh.sock",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(image.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": "lightvm-lab",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            # Without AES instructions, this is the cheapest cipher under emulation.
            "Ciphers": "chacha20-poly1305@openssh.com",
            "KexAlgorithms": "curve25519-sha256",
            "PreferredAuthentications": "publickey",
            "GSSAPIAuthentication": "no",
            "ForwardX11": "no",
            "Compression": "no",
        }
        for name, value in options.items():
            self._command += ["-o", f"{name}={value}"]

    def connect(self, *, timeout: float) -> None:
        """Open the shared connection; it stays until `disconnect` or the end of the lab."""
        deadline = time.monotonic() + timeout
        complaint = ""
        while (left := deadline - time.monotonic()) > 0:
            # ConnectTimeout also covers the server's greeting, so a lab that hangs is noticed.
            command = [*self._command, "-o", f"ConnectTimeout={max(1, int(min(left, 60)))}"]
            command += ["-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-N", "-f", "lab"]
            (self.directory / "ssh.sock").unlink(missing_ok=True)
            # Not through pipes: the connection that stays behind would hold them open.
            log = self.directory / "ssh.log"
            with log.open("wb") as sink:
                try:
                    done = subprocess.run(
                        command,
                        cwd=self.directory,
                        stdin=subprocess.DEVNULL,
                        stdout=sink,
                        stderr=sink,
                        timeout=left,
                        start_new_session=True,
                    )
                except subprocess.TimeoutExpired:
                    break
            if done.returncode == 0:
                return
            complaint = log.read_text(encoding="utf-8", errors="replace").strip()
            time.sleep(0.2)
        reason = complaint.replace("\n", "; ") or "no answer"
        raise LabError("no-ssh", f"no connection within {timeout:.0f} s: {reason}")

    def disconnect(self) -> None:
        """Close the shared connection, if there is one."""
        if not (self.directory / "ssh.sock").exists():
            return
        command = [*self._command, "-O", "exit", "lab"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, cwd=self.directory, capture_output=True, timeout=10)
        (self.directory / "ssh.sock").unlink(missing_ok=True)

    def command(self, remote: Sequence[str] | str, *, tty: bool = False) -> list[str]:
        """Return the host's command that runs `remote` in dom0.

        A string is a shell command line; a sequence is one command with its arguments.
        """
        line = remote if isinstance(remote, str) else shlex.join(remote)
        flags = ["-t"] if tty else ["-T"]
        return [*self._command, "-o", "ControlMaster=no", *flags, "lab", *([line] if line else [])]

    def run(
        self,
        remote: Sequence[str] | str,
        *,
        timeout: float,
        data: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `remote` in dom0 with `data` as its input; raise `timeout` when it takes too long."""
        try:
            return subprocess.run(
                self.command(remote),
                cwd=self.directory,
                capture_output=True,
                timeout=timeout,
                input=data,
            )
        except subprocess.TimeoutExpired:
            shown = remote if isinstance(remote, str) else shlex.join(remote)
            raise LabError("timeout", f"{shown[:80]!r} ran over {timeout:.0f} s in dom0") from None
