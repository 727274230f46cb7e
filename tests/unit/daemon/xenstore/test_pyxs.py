"""XenStore through pyxs: connected when it is needed, and again after an error."""

from __future__ import annotations

import errno
import os

import pytest

from lightvm.daemon.xenstore.pyxs_store import PyxsStore

pyxs = pytest.importorskip("pyxs")


class Connection:
    """Stands where pyxs's connection would."""

    def __init__(self, path: str) -> None:
        self.path = path

    def connect(self) -> None:
        if Client.failing is not None:
            raise Client.failing


class Client:
    """Stands where pyxs's client would; what would be its router is the connection."""

    made: list[Client]
    failing: Exception | None = None

    def __init__(self, router: Connection) -> None:
        self.path = router.path
        self.open = False
        self.calls: list[tuple[object, ...]] = []
        Client.made.append(self)

    def connect(self) -> None:
        self._do("connect")
        self.open = True

    def close(self) -> None:
        self.open = False

    def _do(self, *call: object) -> None:
        if Client.failing is not None:
            raise Client.failing
        self.calls.append(call)

    def write(self, path: bytes, value: bytes) -> None:
        self._do("write", path, value)

    def delete(self, path: bytes) -> None:
        self._do("delete", path)

    def list(self, path: bytes) -> list[bytes]:
        self._do("list", path)
        return [b"0", b"7", b""]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    monkeypatch.setattr(pyxs, "Client", Client)
    monkeypatch.setattr(pyxs, "Router", lambda connection: connection)
    monkeypatch.setattr("pyxs.connection.UnixSocketConnection", Connection)
    Client.made = []
    Client.failing = None
    return Client


MISSING = pyxs.PyXSError(errno.ENOENT, "No such file or directory")
BROKEN = pyxs.PyXSError(errno.EIO, "Input/output error")


def test_nothing_is_connected_before_it_is_needed(client: type[Client]) -> None:
    PyxsStore(__file__)
    assert client.made == []


def test_one_connection_serves_all_calls(client: type[Client]) -> None:
    store = PyxsStore(__file__)
    store.write("/local/domain/7/name", "web")
    store.remove("/local/domain/7")
    assert store.children("/local/domain") == ["0", "7"]
    (made,) = client.made
    assert made.path == __file__
    assert made.calls == [
        ("connect",),
        ("write", b"/local/domain/7/name", b"web"),
        ("delete", b"/local/domain/7"),
        ("list", b"/local/domain"),
    ]


def test_what_is_missing_is_no_error(client: type[Client]) -> None:
    store = PyxsStore(__file__)
    store.write("/a", "b")
    client.failing = MISSING
    store.remove("/a")
    assert store.children("/a") == []
    client.failing = None
    store.write("/a", "b")
    assert len(client.made) == 1


@pytest.mark.parametrize("failure", [BROKEN, OSError(errno.EPIPE, "Broken pipe")])
def test_after_an_error_the_next_call_connects_again(
    client: type[Client], failure: Exception
) -> None:
    store = PyxsStore(__file__)
    store.write("/a", "b")
    client.failing = failure
    with pytest.raises(OSError, match="xenstore: "):
        store.write("/a", "b")
    assert not client.made[0].open
    client.failing = None
    store.write("/a", "b")
    assert len(client.made) == 2


@pytest.mark.parametrize("failure", [BROKEN, MISSING, FileNotFoundError(errno.ENOENT, "none")])
def test_a_store_that_is_not_there_is_an_error(client: type[Client], failure: Exception) -> None:
    store = PyxsStore(__file__)
    client.failing = failure
    for question in (lambda: store.write("/a", "b"), lambda: store.children("/a")):
        with pytest.raises(OSError, match="xenstore: "):
            question()
    client.failing = None
    store.write("/a", "b")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pyxs's own socket
def test_a_socket_that_is_not_there_is_an_error_and_leaves_none_open() -> None:
    store = PyxsStore("/none/socket")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(OSError, match="xenstore: "):
            store.write("/a", "b")
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_twice_is_no_error(client: type[Client]) -> None:
    store = PyxsStore(__file__)
    store.write("/a", "b")
    store.close()
    store.close()
    assert not client.made[0].open
