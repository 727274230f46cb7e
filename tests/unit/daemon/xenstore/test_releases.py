"""Hints of xenstored that a domain has ended; its end of the socket is the test's."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from lightvm.daemon.xenstore.socket_store import SocketStore

ASKED = struct.pack("=IIII", 4, 0, 0, 17) + b"@releaseDomain\0w\0"
EVENT = struct.pack("=IIII", 15, 0, 0, 17) + b"@releaseDomain\0w\0"


@pytest.fixture
def xenstored(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket at which xenstored listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield listener


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SocketStore]:
    opened = SocketStore(str(tmp_path / "socket"))
    yield opened
    opened.close()


async def hears(store: SocketStore) -> bool:
    """Say whether there is a hint."""
    with trio.move_on_after(1):
        await store.wait_release()
        return True
    return False


async def test_nothing_is_heard_before_xenstored_says_so(
    store: SocketStore, xenstored: socket.socket
) -> None:
    assert not await hears(store)
    taken, _ = xenstored.accept()
    with taken:
        assert taken.recv(100) == ASKED
        taken.sendall(EVENT)
        assert await hears(store)
        assert not await hears(store)
        taken.sendall(EVENT * 100)
        assert await hears(store)
        assert not await hears(store)


async def test_after_xenstored_has_gone_it_is_asked_again(
    store: SocketStore, xenstored: socket.socket
) -> None:
    assert not await hears(store)
    with xenstored.accept()[0] as taken:
        taken.recv(100)
    with pytest.raises(OSError, match="xenstore: xenstored has closed the connection"):
        await store.wait_release()
    assert not await hears(store)
    with xenstored.accept()[0] as taken:
        assert taken.recv(100) == ASKED


async def test_without_xenstored_it_is_an_error(store: SocketStore) -> None:
    with pytest.raises(OSError, match="xenstore: No such file"):
        await store.wait_release()
