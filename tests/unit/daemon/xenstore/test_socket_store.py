"""XenStore over a socket, at whose other end is a small xenstored."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lightvm.daemon.xenstore import connection
from lightvm.daemon.xenstore.connection import Op
from lightvm.daemon.xenstore.socket_store import MOST_CONFLICTS, SocketStore
from lightvm.daemon.xenstore.store import Node

HEADER = struct.Struct("=IIII")
NODES = [Node("/a", "1", ("n0", "r7")), Node("/a/b", "2"), Node("/a/c", "", ("n7",))]
AS_SENT = [
    (Op.WRITE, b"/a\0001"),
    (Op.SET_PERMS, b"/a\0n0\0r7\0"),
    (Op.WRITE, b"/a/b\0002"),
    (Op.WRITE, b"/a/c\0"),
    (Op.SET_PERMS, b"/a/c\0n7\0"),
]
Asked = tuple[int, bytes]


class Xenstored:
    """Answers its connections; what is asked in a transaction counts when that is committed."""

    def __init__(self, path: Path) -> None:
        self.conflicts = 0
        self.fails_at = b""
        self.deaf_to = b"none"
        self.wrong: bytes | None = None
        """What it answers in the place of anything."""
        self.part = 0
        """How many bytes of a directory it sends at once; 0: all."""
        self.committed: list[Asked] = []
        self.plain: list[Asked] = []
        self.ended: list[bytes] = []
        self.nodes: dict[bytes, bytes] = {}
        self.connections = 0
        self.generation = 1
        self._open: dict[int, list[Asked]] = {}
        self._last = 0
        self._watchers: dict[bytes, socket.socket] = {}
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self.hang_up()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def hang_up(self) -> None:
        """End all connections."""
        for taken in self._sockets:
            with suppress(OSError):
                taken.shutdown(socket.SHUT_RDWR)

    def change(self, path: bytes, value: bytes) -> None:
        """Let somebody else write a node."""
        self.nodes[path] = value
        if path in self._watchers:
            self._tell(path)

    def _tell(self, path: bytes) -> None:
        payload = path + b"\0w\0"
        self._watchers[path].sendall(HEADER.pack(Op.WATCH_EVENT, 0, 0, len(payload)) + payload)

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(taken)
            self._threads.append(threading.Thread(target=self._serve, args=(taken,), daemon=True))
            self._threads[-1].start()

    def _serve(self, taken: socket.socket) -> None:
        with taken, taken.makefile("rb") as asked, suppress(OSError):
            while head := asked.read(HEADER.size):
                op, request, transaction, size = HEADER.unpack(head)
                payload = asked.read(size)
                if payload.startswith(self.deaf_to):
                    continue
                reply = self._answer(Op(op), transaction, payload, taken)
                if reply.startswith(b"E") and reply.endswith(b"\0"):
                    op = Op.ERROR
                message = HEADER.pack(op, request, transaction, len(reply)) + reply
                taken.sendall(message if self.wrong is None else self.wrong)
                if op == Op.WATCH:
                    self._tell(payload.split(b"\0")[0])

    def _answer(self, op: Op, transaction: int, payload: bytes, taken: socket.socket) -> bytes:
        path = payload.split(b"\0")[0]
        if self.fails_at and payload.startswith(self.fails_at):
            return b"ENOSPC\0" if op == Op.WRITE else b"EINVAL\0"
        match op:
            case Op.TRANSACTION_START:
                self._last += 1
                self._open[self._last] = []
                return b"%d\0" % self._last
            case Op.TRANSACTION_END:
                return self._end(self._open.pop(transaction), payload)
            case Op.READ:
                return self.nodes.get(path, b"ENOENT\0")
            case Op.RM if path not in self.nodes:
                return b"ENOENT\0"
            case Op.DIRECTORY | Op.DIRECTORY_PART:
                return self._list(op, path, payload)
            case Op.WATCH:
                self._watchers[path] = taken
            case Op.UNWATCH:
                del self._watchers[path]
            case _:
                (self._open[transaction] if transaction else self.plain).append((op, payload))
        return b"OK\0"

    def _end(self, asked: list[Asked], payload: bytes) -> bytes:
        self.ended.append(payload)
        if payload == b"T\0":
            if self.conflicts:
                self.conflicts -= 1
                return b"EAGAIN\0"
            self.committed += asked
        return b"OK\0"

    def _list(self, op: Op, path: bytes, payload: bytes) -> bytes:
        if path not in self.nodes:
            return b"ENOENT\0"
        names = self.nodes[path]
        if op == Op.DIRECTORY:
            return b"E2BIG\0" if self.part else names
        offset = int(payload.split(b"\0")[1])
        part = names[offset : offset + self.part]
        last = b"\0" if offset + self.part >= len(names) else b""
        return b"%d\0" % self.generation + part + last


@pytest.fixture
def xenstored(tmp_path: Path) -> Iterator[Xenstored]:
    server = Xenstored(tmp_path / "socket")
    yield server
    server.close()


@pytest.fixture
def store(xenstored: Xenstored, tmp_path: Path) -> Iterator[SocketStore]:
    opened = SocketStore(str(tmp_path / "socket"))
    yield opened
    opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REPLY_SECONDS", 0.05)


# One request


def test_nothing_is_connected_before_it_is_needed(xenstored: Xenstored, store: SocketStore) -> None:
    assert xenstored.connections == 0
    store.write("/local/domain/7/name", "web")
    store.write("/local/domain/7/name", "web")
    assert xenstored.plain == [(Op.WRITE, b"/local/domain/7/name\0web")] * 2
    assert xenstored.connections == 1


def test_a_node_is_read_removed_and_listed(xenstored: Xenstored, store: SocketStore) -> None:
    xenstored.nodes = {b"/a": b"value \xff", b"/local/domain": b"0\x007\0", b"/empty": b""}
    assert store.read("/a") == "value \ufffd"
    assert store.children("/local/domain") == ["0", "7"]
    assert store.children("/empty") == []
    store.remove("/a")
    assert xenstored.plain == [(Op.RM, b"/a\0")]


def test_what_is_missing_is_no_error(xenstored: Xenstored, store: SocketStore) -> None:
    assert store.read("/none") is None
    assert store.children("/none") == []
    store.remove("/none")
    assert xenstored.connections == 1


def test_a_long_directory_is_read_in_parts(xenstored: Xenstored, store: SocketStore) -> None:
    names = [str(number) for number in range(2000)]
    xenstored.nodes = {b"/local/domain": "\0".join(names).encode() + b"\0"}
    xenstored.part = 1000
    assert store.children("/local/domain") == names


def test_a_directory_that_changes_meanwhile_is_read_anew(
    xenstored: Xenstored, store: SocketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    xenstored.nodes = {b"/d": b"one\0two\0three\0"}
    xenstored.part = 4
    parts: list[bytes] = []
    whole = xenstored._list

    def list_and_change(op: Op, path: bytes, payload: bytes) -> bytes:
        if op == Op.DIRECTORY_PART:
            parts.append(payload)
            if len(parts) == 2:
                xenstored.generation += 1
                xenstored.nodes[b"/d"] = b"four\0five\0"
        return whole(op, path, payload)

    monkeypatch.setattr(xenstored, "_list", list_and_change)
    assert store.children("/d") == ["four", "five"]


def test_a_domain_is_introduced_and_released(xenstored: Xenstored, store: SocketStore) -> None:
    store.introduce(7, 4096, 3)
    store.release(7)
    assert xenstored.plain == [(Op.INTRODUCE, b"7\x004096\x003\0"), (Op.RELEASE, b"7\0")]


def test_a_domain_that_is_not_known_is_released_already(
    xenstored: Xenstored, store: SocketStore
) -> None:
    xenstored.fails_at = b"7\0"
    store.release(7)
    store.write("/x", "y")
    assert xenstored.connections == 1


# What goes wrong


def test_what_is_refused_says_why_and_where_and_the_connection_goes_on(
    xenstored: Xenstored, store: SocketStore
) -> None:
    xenstored.fails_at = b"/full"
    with pytest.raises(OSError, match="xenstore: No space left") as caught:
        store.write("/full/node", "x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/full/node")
    store.write("/a", "b")
    assert xenstored.connections == 1


def test_after_a_lost_connection_the_next_call_connects_again(
    xenstored: Xenstored, store: SocketStore
) -> None:
    store.write("/a", "b")
    xenstored.hang_up()
    with pytest.raises(OSError, match="xenstore: "):
        store.write("/a", "b")
    store.write("/a", "b")
    assert xenstored.connections == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HEADER.pack(Op.READ, 0, 0, 1 << 30), "a message of 1073741824 bytes"),
        (HEADER.pack(Op.DIRECTORY, 0, 0, 0), "a reply of type 1"),
        (HEADER.pack(Op.ERROR, 0, 0, 9) + b"NONSENSE\0", "Input/output error"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    xenstored: Xenstored, store: SocketStore, answer: bytes, said: str
) -> None:
    xenstored.wrong = answer
    with pytest.raises(OSError, match=said):
        store.read("/a")
    xenstored.wrong = None
    assert store.read("/a") is None


@pytest.mark.usefixtures("impatient")
def test_a_store_that_does_not_reply_is_given_up(xenstored: Xenstored, store: SocketStore) -> None:
    xenstored.deaf_to = NODES[-1].path.encode() + b"\0n7"
    with pytest.raises(OSError, match="no reply") as caught:
        store.write_all(NODES)
    assert caught.value.errno == errno.ETIMEDOUT
    assert xenstored.ended == []
    xenstored.deaf_to = b"none"
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT


def test_a_socket_that_is_not_there_is_an_error_and_leaves_none_open() -> None:
    store = SocketStore("/none/socket")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(OSError, match="xenstore: ") as caught:
            store.write("/a", "b")
        assert caught.value.errno == errno.ENOENT
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_twice_is_no_error(xenstored: Xenstored, store: SocketStore) -> None:
    store.write("/a", "b")
    store.close()
    store.close()
    store.write("/a", "b")
    assert xenstored.connections == 2


# Transactions


def test_all_nodes_are_written_in_their_order(xenstored: Xenstored, store: SocketStore) -> None:
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT
    assert xenstored.ended == [b"T\0"]


def test_what_somebody_came_between_is_written_again(
    xenstored: Xenstored, store: SocketStore
) -> None:
    xenstored.conflicts = 3
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT
    assert len(xenstored.ended) == 4


def test_conflicts_without_an_end_are_an_error(xenstored: Xenstored, store: SocketStore) -> None:
    xenstored.conflicts = MOST_CONFLICTS + 5
    with pytest.raises(OSError, match="20 conflicts") as caught:
        store.write_all(NODES)
    assert caught.value.errno == errno.EAGAIN
    assert len(xenstored.ended) == MOST_CONFLICTS
    xenstored.conflicts = 0
    store.write_all(NODES)
    assert xenstored.committed == AS_SENT


def test_a_node_that_is_refused_takes_the_others_back(
    xenstored: Xenstored, store: SocketStore
) -> None:
    xenstored.fails_at = b"/a/b"
    with pytest.raises(OSError, match="xenstore: ") as caught:
        store.write_all(NODES)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/a/b")
    assert xenstored.ended == [b"F\0"]
    assert xenstored.committed == []


# Waiting


def test_a_value_is_waited_for(xenstored: Xenstored, store: SocketStore) -> None:
    xenstored.nodes = {b"/state": b"1"}

    def change() -> None:
        for value in (b"5", b"2"):
            time.sleep(0.02)
            xenstored.change(b"/state", value)

    thread = threading.Thread(target=change)
    thread.start()
    assert store.wait_for("/state", "2", 10) == "2"
    thread.join()
    assert xenstored._watchers == {}
    assert store.read("/state") == "2"
    assert xenstored.connections == 1


def test_a_value_that_is_there_is_not_waited_for(xenstored: Xenstored, store: SocketStore) -> None:
    xenstored.nodes = {b"/state": b"2"}
    assert store.wait_for("/state", "2", 10) == "2"


def test_waiting_has_an_end_and_says_what_is_there_then(
    xenstored: Xenstored, store: SocketStore
) -> None:
    assert store.wait_for("/state", "2", 0.02) is None
    xenstored.nodes = {b"/state": b"1"}
    assert store.wait_for("/state", "2", 0.02) == "1"
    assert xenstored.connections == 1


def test_who_waits_holds_up_nobody(xenstored: Xenstored, store: SocketStore) -> None:
    thread = threading.Thread(target=store.wait_for, args=("/state", "2", 10))
    thread.start()
    while not xenstored._watchers:
        time.sleep(0.001)
    store.write("/a", "b")
    xenstored.change(b"/state", b"2")
    thread.join(10)
    assert not thread.is_alive()
    assert xenstored.connections == 2
