"""XenStore over a socket, at whose other end is a small xenstored."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from lightvm.daemon.xenstore import connection
from lightvm.daemon.xenstore.connection import Op
from lightvm.daemon.xenstore.socket_store import MOST_CONFLICTS, SocketStore
from lightvm.daemon.xenstore.store import Node
from tests.unit.daemon.xenstore.xenstored import HEADER, Xenstored

NODES = [Node("/a", "1", ("n0", "r7")), Node("/a/b", "2"), Node("/a/c", "", ("n7",))]
AS_SENT = [
    (Op.WRITE, b"/a\0001"),
    (Op.SET_PERMS, b"/a\0n0\0r7\0"),
    (Op.WRITE, b"/a/b\0002"),
    (Op.WRITE, b"/a/c\0"),
    (Op.SET_PERMS, b"/a/c\0n7\0"),
]


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


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[socket.socket]:
    """A xenstored that takes nobody just now, and whose queue is full."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as queue:
        listener.bind(str(tmp_path / "busy"))
        listener.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                waiting = queue.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(tmp_path / "busy"))
        yield listener


def test_a_xenstored_that_is_busy_is_waited_for(busy: socket.socket) -> None:
    def serve() -> None:
        time.sleep(0.05)
        for _ in range(2):
            connection, _ = busy.accept()
            taken.append(connection)
        taken[1].recv(100)
        taken[1].send(HEADER.pack(Op.READ, 0, 0, 2) + b"42")

    taken: list[socket.socket] = []
    thread = threading.Thread(target=serve)
    thread.start()
    with closing(SocketStore(busy.getsockname())) as store:
        assert store.read("/a") == "42"
    thread.join()
    for each in taken:
        each.close()


@pytest.mark.usefixtures("impatient")
def test_one_that_is_busy_for_too_long_is_given_up(busy: socket.socket) -> None:
    with (
        closing(SocketStore(busy.getsockname())) as store,
        pytest.raises(OSError, match="no connection") as caught,
    ):
        store.read("/a")
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.strerror == "xenstore: no connection after 0.05 s"


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
    assert store.wait_for("/state", ("2",), 10) == "2"
    thread.join()
    assert xenstored._watchers == {}
    assert store.read("/state") == "2"
    assert xenstored.connections == 1


def test_a_value_that_is_there_is_not_waited_for(xenstored: Xenstored, store: SocketStore) -> None:
    xenstored.nodes = {b"/state": b"2"}
    assert store.wait_for("/state", ("2",), 10) == "2"


def test_waiting_has_an_end_and_says_what_is_there_then(
    xenstored: Xenstored, store: SocketStore
) -> None:
    assert store.wait_for("/state", ("2",), 0.02) is None
    xenstored.nodes = {b"/state": b"1"}
    assert store.wait_for("/state", ("2", None), 0.02) == "1"
    assert xenstored.connections == 1


def test_who_waits_holds_up_nobody(xenstored: Xenstored, store: SocketStore) -> None:
    thread = threading.Thread(target=store.wait_for, args=("/state", ("2",), 10))
    thread.start()
    while not xenstored._watchers:
        time.sleep(0.001)
    store.write("/a", "b")
    xenstored.change(b"/state", b"2")
    thread.join(10)
    assert not thread.is_alive()
    assert xenstored.connections == 2
