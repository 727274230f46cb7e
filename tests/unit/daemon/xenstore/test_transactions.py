"""Many nodes in one transaction, through pyxs, over a socket that speaks xenstored's protocol."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightvm.daemon.xenstore import pyxs_store
from lightvm.daemon.xenstore.pyxs_store import MOST_CONFLICTS, PyxsStore
from lightvm.daemon.xenstore.store import Node

pyxs = pytest.importorskip("pyxs")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEADER = struct.Struct("IIII")
START, END, INTRODUCE, RELEASE, WRITE, SET_PERMS, ERROR = 6, 7, 8, 9, 11, 14, 16
NODES = [Node("/a", "1", ("n0", "r7")), Node("/a/b", "2"), Node("/a/c", "", ("n7",))]
AS_SENT = [
    (WRITE, b"/a\0001"),
    (SET_PERMS, b"/a\0n0\0r7\0"),
    (WRITE, b"/a/b\0002"),
    (WRITE, b"/a/c\0"),
    (SET_PERMS, b"/a/c\0n7\0"),
]


class Xenstored:
    """Answers one connection; what it was asked for is committed or thrown away with its transaction."""

    def __init__(self, path: Path) -> None:
        self.conflicts = 0
        self.fails_at = b""
        self.deaf_to = b"none"
        self.committed: list[tuple[int, bytes]] = []
        self.plain: list[tuple[int, bytes]] = []
        self.ended: list[bytes] = []
        self._open: dict[int, list[tuple[int, bytes]]] = {}
        self._last = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as asked:
                while head := asked.read(HEADER.size):
                    op, request, transaction, size = HEADER.unpack(head)
                    payload = asked.read(size)
                    if payload.startswith(self.deaf_to):
                        continue
                    reply = self._answer(op, transaction, payload)
                    if reply.startswith(b"E"):
                        op = ERROR
                    connection.sendall(HEADER.pack(op, request, transaction, len(reply)) + reply)

    def _answer(self, op: int, transaction: int, payload: bytes) -> bytes:
        if op == START:
            self._last += 1
            self._open[self._last] = []
            return b"%d\0" % self._last
        if op == END:
            self.ended.append(payload)
            asked = self._open.pop(transaction)
            if payload == b"T\0":
                if self.conflicts:
                    self.conflicts -= 1
                    return b"EAGAIN\0"
                self.committed += asked
            return b"OK\0"
        if self.fails_at and payload.startswith(self.fails_at):
            return b"ENOSPC\0" if op == WRITE else b"EINVAL\0"
        (self._open[transaction] if transaction else self.plain).append((op, payload))
        return b"OK\0"


@pytest.fixture
def xenstored(tmp_path: Path) -> Iterator[Xenstored]:
    server = Xenstored(tmp_path / "socket")
    yield server
    server.close()


@pytest.fixture
def store(xenstored: Xenstored, tmp_path: Path) -> Iterator[PyxsStore]:
    opened = PyxsStore(str(tmp_path / "socket"))
    yield opened
    opened.close()


def test_all_nodes_are_written_in_their_order(xenstored: Xenstored, store: PyxsStore) -> None:
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT
    assert xenstored.ended == [b"T\0"]


def test_what_somebody_came_between_is_written_again(
    xenstored: Xenstored, store: PyxsStore
) -> None:
    xenstored.conflicts = 3
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT
    assert len(xenstored.ended) == 4


def test_conflicts_without_an_end_are_an_error(xenstored: Xenstored, store: PyxsStore) -> None:
    xenstored.conflicts = MOST_CONFLICTS + 5
    with pytest.raises(OSError, match="20 conflicts") as caught:
        store.write_all(NODES)
    assert caught.value.errno == errno.EAGAIN
    assert len(xenstored.ended) == MOST_CONFLICTS
    xenstored.conflicts = 0
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT


def test_a_node_that_is_refused_takes_the_others_back(
    xenstored: Xenstored, store: PyxsStore
) -> None:
    xenstored.fails_at = b"/a/b"
    with pytest.raises(OSError, match="xenstore: ") as caught:
        store.write_all(NODES)
    assert caught.value.errno == errno.ENOSPC
    assert xenstored.ended == [b"F\0"]
    assert xenstored.committed == []


def test_a_store_that_does_not_reply_is_given_up(
    xenstored: Xenstored, store: PyxsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyxs_store, "REPLY_SECONDS", 0.01)
    xenstored.deaf_to = b"/a/b"
    with pytest.raises(OSError, match="no reply") as caught:
        store.write_all(NODES)
    assert caught.value.errno == errno.ETIMEDOUT
    assert xenstored.ended == []
    xenstored.deaf_to = b"none"
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT


def test_a_domain_is_introduced_and_released(
    xenstored: Xenstored, store: PyxsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyxs.Client, "SU", True)
    store.introduce(7, 4096, 3)
    store.release(7)
    assert xenstored.plain == [(INTRODUCE, b"7\x004096\x003\0"), (RELEASE, b"7\0")]


def test_a_domain_that_is_not_known_is_released_already(
    xenstored: Xenstored, store: PyxsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyxs.Client, "SU", True)
    xenstored.fails_at = b"7\0"
    store.write("/x", "y")
    before = store._client
    store.release(7)
    assert store._client is before
