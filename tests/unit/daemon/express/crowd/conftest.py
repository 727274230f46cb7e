"""A daemon with one pool, and clients that are connected to it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
import trio

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.model import CreateRequest, WaitFor
from lightvm.testing import InMemory
from tests.unit.daemon.express.crowd.crowds import MANY, VERSION, Crowd
from tests.unit.daemon.express.quick import decode, serve_one_pool
from tests.waits import settle, until

SHELLS = 40


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    async with serve_one_pool(tmp_path, shells=SHELLS) as served:
        yield served


@pytest.fixture
async def words(lvm: InMemory, client: Client) -> bytes:
    """A call that there are tickets for, for each shell."""
    request = CreateRequest(image=lvm.noop, wait=WaitFor.READY)
    words = wire.encode_call(calls.CREATE, calls.CreateCall(request=request))
    tickets = lvm.service.express.tickets
    for _ in range(2):
        async with await trio.open_unix_socket(lvm.socket) as stream:
            await stream.send_all(words)
            await client.destroy(decode(await stream.receive_some()).domain.uuid)
    await until(lambda: tickets.count(lvm.service.pools["tiny"]) >= 2 * MANY)
    lvm.hypervisor.calls.clear()
    return words


@pytest.fixture
async def crowd(lvm: InMemory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crowd]:
    """Clients who all wait in the waiting room, none of them apart."""
    taken = mock.AsyncMock(return_value=False)
    monkeypatch.setattr(lvm.service.waiting_room, "wait_apart", taken)
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(MANY)]
        crowd = Crowd(lvm.socket, sockets)
        crowd.ask(VERSION)
        for which in range(MANY):
            await crowd.hear(which)
        await settle()
        yield crowd


@pytest.fixture
def by_the_engine(lvm: InMemory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing be created any other way."""
    with monkeypatch.context() as patched:
        patched.setattr(lvm.service.creator, "begin", None)
        yield
