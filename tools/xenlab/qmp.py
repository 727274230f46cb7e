"""A small client of QEMU's control socket (QMP): one request, one answer, always in time."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import LabError
from .process import ProcessId

Json = dict[str, object]


class Qmp:
    """A connection to the control socket `qmp.sock` in `directory`."""

    def __init__(self, directory: Path, *, timeout: float = 10.0) -> None:
        # Through the directory's descriptor, for a Unix socket's path has room for 107 bytes only.
        descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._buffer = b""
        try:
            self._socket.connect(f"/proc/self/fd/{descriptor}/qmp.sock")
            self._read_message()
            self.execute("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._socket.close()

    def peer(self) -> ProcessId | None:
        """Return the process at the other end: the QEMU itself, whatever is on record."""
        size = struct.calcsize("3i")
        packed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid: int = struct.unpack("3i", packed)[0]
        return ProcessId.of(pid)

    def execute(self, command: str, **arguments: object) -> object:
        """Run one command and return what it returned; raise `qemu-refused` if QEMU says no."""
        request = json.dumps({"execute": command, "arguments": arguments})
        try:
            self._socket.sendall(request.encode() + b"\n")
        except ConnectionError:
            raise LabError("qemu-died", "QEMU closed its control socket") from None
        while True:
            message = self._read_message()
            if "error" in message:
                error = message["error"]
                detail = error.get("desc") if isinstance(error, dict) else error
                raise LabError("qemu-refused", f"{command}: {detail}")
            if "return" in message:
                return message["return"]

    def wait_status(self, query: str, wanted: set[str], failed: set[str], timeout: float) -> str:
        """Repeat `query` until its status is in `wanted`; `failed` or a time-out is an error."""
        deadline = time.monotonic() + timeout
        while True:
            answer = self.execute(query)
            status = str(answer.get("status")) if isinstance(answer, dict) else ""
            if status in wanted:
                return status
            if status in failed:
                raise LabError("qemu-refused", f"{query}: {answer}")
            if time.monotonic() > deadline:
                raise LabError("timeout", f"{query}: still {status!r} after {timeout:.0f} s")
            time.sleep(0.02)

    def _read_message(self) -> Json:
        while b"\n" not in self._buffer:
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
                raise LabError("timeout", "QEMU does not answer on its control socket") from None
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise LabError("qemu-died", "QEMU closed its control socket")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: Json = json.loads(line)
        return message
