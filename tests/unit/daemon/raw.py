"""A client that knows nothing of LightVM: bytes and JSON over a Unix socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

SECONDS = 120.0
Message = dict[str, Any]


class Raw:
    """One connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = b""

    async def send(self, *messages: Message | bytes) -> None:
        """Send messages in one piece; bytes go as they are."""
        data = b"".join(
            m if isinstance(m, bytes) else json.dumps(m).encode() + b"\0" for m in messages
        )
        await self.stream.send_all(data)

    async def receive(self) -> Message:
        """Return the next message."""
        with trio.fail_after(SECONDS):
            while b"\0" not in self._received:
                data = await self.stream.receive_some(1 << 20)
                assert data, "the daemon closed the connection"
                self._received += data
        message, _, self._received = self._received.partition(b"\0")
        decoded: Message = json.loads(message)
        return decoded

    async def call(self, name: str, **parameters: object) -> Message:
        """Call one of our methods and return the reply."""
        await self.send(call(name, more=False, **parameters))
        return await self.receive()

    async def wait_closed(self) -> bytes:
        """Wait until the daemon closes the connection; return what it sent before."""
        with trio.fail_after(SECONDS):
            while True:
                try:
                    data = await self.stream.receive_some(1 << 20)
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    return self._received
                self._received += data


def call(name: str, *, more: bool = False, **parameters: object) -> Message:
    """Return a call of one of our methods."""
    message: Message = {"method": f"io.github.lightvm.{name}", "parameters": parameters}
    if more:
        message["more"] = True
    return message


@asynccontextmanager
async def open_raw(path: str) -> AsyncIterator[Raw]:
    """Connect to a daemon."""
    stream = await trio.open_unix_socket(path)
    async with stream:
        yield Raw(stream)
