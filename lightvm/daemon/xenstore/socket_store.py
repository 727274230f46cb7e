"""XenStore over the socket of xenstored.

Sources: ``docs/misc/xenstore.txt`` of Xen, ``xen/include/public/io/xs_wire.h``.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from lightvm.daemon.xenstore.connection import Connection, Op, Refused, Releases
from lightvm.daemon.xenstore.store import Node

MOST_CONFLICTS = 20
"""How often a transaction is tried before its failure is told: each time somebody else came between."""


class SocketStore:
    """XenStore; connects when it is asked, and again after an error.

    Whoever asks while others do has a connection of his own, so that a wait holds up nobody.
    """

    def __init__(self, socket_path: str = "/run/xenstored/socket") -> None:
        self._socket_path = socket_path
        self._idle: list[Connection] = []
        self._releases: Releases | None = None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Have a connection; it is kept for the next, unless it fails. What fails is an `OSError` that says so."""
        connection = None
        try:
            connection = self._idle.pop() if self._idle else Connection(self._socket_path)
            yield connection
            self._idle.append(connection)
        except Refused as exc:
            assert connection is not None
            self._idle.append(connection)
            raise OSError(exc.errno, f"xenstore: {os.strerror(exc.errno)}", exc.path) from None
        except BaseException as exc:
            if connection is not None:
                connection.close()
            if isinstance(exc, OSError):
                raise OSError(exc.errno or errno.EIO, f"xenstore: {exc.strerror or exc}") from exc
            raise

    def write(self, path: str, value: str) -> None:
        """Write a node."""
        with self._connected() as connection:
            connection.ask(Op.WRITE, path, value)

    def write_all(self, nodes: Sequence[Node]) -> None:
        """Write nodes in one transaction, tried again where somebody else came between, within a bound."""
        for _ in range(MOST_CONFLICTS):
            with self._connected() as connection:
                if _transact(connection, nodes):
                    return
        raise OSError(errno.EAGAIN, f"xenstore: {MOST_CONFLICTS} conflicts", nodes[0].path)

    def introduce(self, domid: int, gfn: int, port: int) -> None:
        """Let a domain speak with xenstored."""
        with self._connected() as connection:
            connection.ask(Op.INTRODUCE, str(domid), str(gfn), str(port), "")

    def release(self, domid: int) -> None:
        """End that."""
        with self._connected() as connection:
            try:
                connection.ask(Op.RELEASE, str(domid), "")
            except Refused as exc:
                if (
                    exc.errno != errno.EINVAL
                ):  # what xenstored says of a domain that it does not know
                    raise

    def remove(self, path: str) -> None:
        """Remove a node and all below it."""
        with self._connected() as connection:
            _unless_missing(connection, Op.RM, path, "")

    def read(self, path: str) -> str | None:
        """Return a node's value."""
        with self._connected() as connection:
            return _read(connection, path)

    def wait_for(self, path: str, values: Collection[str | None], seconds: float) -> str | None:
        """Wait until a node has one of some values, by a watch; return what it has then, or when the time is over."""
        end = time.monotonic() + seconds
        with self._connected() as connection, connection.watching(path):
            while (found := _read(connection, path)) not in values and connection.wait_event(end):
                pass
            return found

    def children(self, path: str) -> Sequence[str]:
        """Return the names below a node."""
        with self._connected() as connection:
            try:
                names = _unless_missing(connection, Op.DIRECTORY, path, "")
            except Refused as exc:
                if exc.errno != errno.E2BIG:
                    raise
                names = _list_in_parts(connection, path)
            return [name.decode() for name in (names or b"").split(b"\0") if name]

    async def wait_release(self) -> None:
        """Wait until xenstored says that a domain has ended, or may have: at first it always says so."""
        try:
            if self._releases is None:
                self._releases = Releases(self._socket_path)
            await self._releases.wait()
        except OSError as exc:
            if self._releases is not None:
                self._releases.close()
                self._releases = None
            raise OSError(exc.errno or errno.EIO, f"xenstore: {exc.strerror or exc}") from exc

    def close(self) -> None:
        """Close the connections that nobody uses."""
        if self._releases is not None:
            self._releases.close()
            self._releases = None
        while self._idle:
            self._idle.pop().close()


def _unless_missing(connection: Connection, op: Op, *words: str) -> bytes | None:
    try:
        return connection.ask(op, *words)
    except Refused as exc:
        if exc.errno != errno.ENOENT:
            raise
        return None


def _read(connection: Connection, path: str) -> str | None:
    value = _unless_missing(connection, Op.READ, path, "")
    return None if value is None else value.decode("utf-8", "replace")


def _list_in_parts(connection: Connection, path: str) -> bytes:
    """Return the names below a node that has too many for one message; begins anew where they change meanwhile."""
    names, generation = b"", b""
    while True:
        reply = connection.ask(Op.DIRECTORY_PART, path, str(len(names)), "")
        found, _, part = reply.partition(b"\0")
        if names and found != generation:
            names = b""
            continue
        generation = found
        names += part
        if not part or part.endswith(b"\0\0"):
            return names


def _transact(connection: Connection, nodes: Sequence[Node]) -> bool:
    """Write nodes in one transaction; False where somebody else came between."""
    transaction = int(connection.ask(Op.TRANSACTION_START, "", "").rstrip(b"\0"))
    requests: list[tuple[Op, tuple[str, ...]]] = []
    for node in nodes:
        requests.append((Op.WRITE, (node.path, node.value)))
        if node.access:
            requests.append((Op.SET_PERMS, (node.path, *node.access, "")))
    try:
        connection.ask_all(requests, transaction)
    except Refused:
        connection.ask(Op.TRANSACTION_END, "F", "", transaction=transaction)
        raise
    try:
        connection.ask(Op.TRANSACTION_END, "T", "", transaction=transaction)
    except Refused as exc:
        if exc.errno != errno.EAGAIN:
            raise
        return False
    return True
