"""A client that speaks before it is waited for, and what makes it worth while."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from msgspec.structs import replace

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon.config import FlavorSection
from lightvm.daemon.express import Met
from lightvm.model import Created, CreateRequest, NetRequest, WaitFor
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.waits import settle, until

READY = WaitFor.READY
LAN = NetRequest(network="lan")


@asynccontextmanager
async def serve_one_pool(directory: Path, *, shells: int) -> AsyncIterator[InMemory]:
    """Serve in memory with one pool, `tiny`, that is full."""
    flavor = FlavorSection(memory_kib=4096, low=1, high=shells)
    config = replace(default_config(directory), flavors={"tiny": flavor})
    async with serve_in_memory(directory, config=config) as served:
        await until(lambda: not any(pool.filling for pool in served.service.pools))
        yield served


class Quick:
    """A client that speaks before it is waited for."""

    def __init__(self, lvm: InMemory) -> None:
        self._lvm = lvm
        self.ours, self.peer = socket.socketpair()
        self.ours.settimeout(1)
        self.peer.setblocking(False)
        lvm.service.attention.watch(self.peer.fileno())

    def ask(self, request: CreateRequest, *, expected: int = 1) -> Met:
        """Ask for a create, and let the daemon meet that, and what comes then, where so many are expected."""
        self.ours.send(encode(request))
        return self._lvm.service.express.meet(self.peer, expected=expected)

    def hear(self) -> Created:
        """Return what the daemon has answered."""
        return decode(self.ours.recv(65536))


def encode(request: CreateRequest) -> bytes:
    return wire.encode_call(calls.CREATE, calls.CreateCall(request=request))


def decode(reply: bytes) -> Created:
    result, _ = wire.decode_reply(calls.CREATE, reply.removesuffix(b"\0"))
    return result.created


async def ask(lvm: InMemory, words: bytes) -> Created:
    """Ask for a create as anybody does."""
    async with await trio.open_unix_socket(lvm.socket) as stream:
        await stream.send_all(words)
        with trio.fail_after(60):
            return decode(await stream.receive_some())


async def ask_in_a_row(lvm: InMemory, words: bytes, times: int) -> list[Created]:
    """Ask for the same, each time as soon as the one before is there, from a thread: the daemon has its own."""
    made = []

    def ask_each() -> None:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(60)
            caller.connect(lvm.socket)
            for _ in range(times):
                caller.send(words)
                made.append(decode(caller.recv(65536)))

    thread = threading.Thread(target=ask_each)
    thread.start()
    while thread.is_alive():
        await trio.lowlevel.checkpoint()
    assert len(made) == times
    return made


async def ask_often(lvm: InMemory, client: Client, words: CreateRequest | bytes) -> None:
    """Ask for the same twice, and give it back; then the daemon is at rest for a while."""
    for _ in range(2):
        created = await ask(lvm, words if isinstance(words, bytes) else encode(words))
        await client.destroy(created.domain.uuid)
        await settle()


def is_on_offer(quick: Quick, request: CreateRequest) -> bool:
    """Ask for something; return whether it was carried out without being read."""
    return quick.ask(request).unsent is not None
