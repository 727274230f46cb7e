"""Clients of a crowd."""

from __future__ import annotations

import socket

import trio

from lightvm import calls, wire
from lightvm.model import Created
from tests.unit.daemon.express.quick import decode

MANY = 8
VERSION = wire.encode_call(calls.VERSION, calls.Nothing())


class Crowd:
    """Clients that are connected, and quiet."""

    def __init__(self, path: str, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        for each in sockets:
            each.connect(path)
            each.setblocking(False)

    def ask(self, words: bytes) -> None:
        """Have all say the same before anybody is heard."""
        for each in self.sockets:
            each.send(words)

    async def hear(self, which: int) -> bytes:
        """Return what one is told next."""
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(self.sockets[which])
        return self.sockets[which].recv(1 << 20)

    async def hear_all(self) -> list[Created]:
        """Return what each was told."""
        return [decode(await self.hear(which)) for which in range(len(self.sockets))]
