"""XenStore through `pyxs`."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lightvm.daemon.xenstore.store import Node

if TYPE_CHECKING:
    import pyxs
    from pyxs.client import RVar

MOST_CONFLICTS = 20
"""How often a transaction is tried before its failure is told: each time somebody else came between."""

REPLY_SECONDS = 10.0
"""How long xenstored may take to reply to what is sent all at once."""


class PyxsStore:
    """XenStore through `pyxs`; connects on first use, and again after an error."""

    def __init__(self, socket_path: str = "/run/xenstored/socket") -> None:
        self._socket_path = socket_path
        self._client: pyxs.Client | None = None

    def _call(self, operation: Callable[[pyxs.Client], object], missing: object) -> object:
        import pyxs

        try:
            if self._client is None:
                self._client = self._connect()
            return operation(self._client)
        except (pyxs.PyXSError, OSError) as exc:
            if exc.args and exc.args[0] == errno.ENOENT and self._client is not None:
                return missing
            self.close()
            code = exc.args[0] if exc.args and isinstance(exc.args[0], int) else errno.EIO
            raise OSError(code, f"xenstore: {exc}") from exc

    def _connect(self) -> pyxs.Client:
        import pyxs
        from pyxs.connection import UnixSocketConnection

        os.stat(self._socket_path)  # a connection that fails leaves its socket to the collector
        # The connection first: a router that cannot connect keeps its own sockets open.
        connection = UnixSocketConnection(self._socket_path)
        connection.connect()
        client = pyxs.Client(router=pyxs.Router(connection))
        client.connect()
        return client

    def write(self, path: str, value: str) -> None:
        """Write a node."""
        self._call(lambda client: client.write(path.encode(), value.encode()), None)

    def write_all(self, nodes: Sequence[Node]) -> None:
        """Write nodes in one transaction, tried again where somebody else came between, within a bound.

        The requests are sent one behind the other, without a wait for the replies between them.
        """
        for _ in range(MOST_CONFLICTS):
            if self._call(lambda client: _transact(client, nodes), False):
                return
        raise OSError(errno.EAGAIN, f"xenstore: {MOST_CONFLICTS} conflicts", nodes[0].path)

    def introduce(self, domid: int, gfn: int, port: int) -> None:
        """Let a domain speak with xenstored."""
        self._call(lambda client: client.introduce_domain(domid, gfn, port), None)

    def release(self, domid: int) -> None:
        """End that."""
        self._call(lambda client: _release(client, domid), None)

    def remove(self, path: str) -> None:
        """Remove a node and all below it."""
        self._call(lambda client: client.delete(path.encode()), None)

    def read(self, path: str) -> str | None:
        """Return a node's value."""
        value = self._call(lambda client: client.read(path.encode()), None)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else None

    def children(self, path: str) -> Sequence[str]:
        """Return the names below a node."""
        names = self._call(lambda client: client.list(path.encode()), [])
        assert isinstance(names, list)
        return [name.decode() for name in names if name]

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            client, self._client = self._client, None
            client.close()


def _release(client: pyxs.Client, domid: int) -> None:
    """End a domain's connection; that it has none is no reason to end ours."""
    import pyxs

    try:
        client.release_domain(domid)
    except pyxs.PyXSError as exc:
        if exc.args[0] != errno.EINVAL:  # what xenstored says of a domain that it does not know
            raise


def _transact(client: pyxs.Client, nodes: Sequence[Node]) -> bool:
    """Write nodes in one transaction; False where somebody else came between."""
    import pyxs

    transaction = copy.copy(client)  # shares the connection
    transaction.transaction()
    try:
        for reply in [*_send(transaction, nodes)]:
            _take_reply(reply)
    except pyxs.PyXSError:  # where there is no reply, the transaction ends with the connection
        transaction.rollback()
        raise
    return bool(transaction.commit())


def _send(client: pyxs.Client, nodes: Sequence[Node]) -> Iterator[RVar]:
    from pyxs.client import Op, Packet, next_rq_id

    def send(op: int, *words: str) -> RVar:
        payload = b"\0".join(word.encode() for word in words)
        return client.router.send(Packet(op, payload, rq_id=next_rq_id(), tx_id=client.tx_id))

    for node in nodes:
        yield send(Op.WRITE, node.path, node.value)
        if node.access:
            yield send(Op.SET_PERMS, node.path, *node.access, "")


def _take_reply(reply: RVar) -> None:
    """Wait for a reply, which pyxs itself does without an end."""
    from pyxs.client import Op
    from pyxs.helpers import error

    with reply.condition:
        if not reply.condition.wait_for(lambda: reply.target is not None, REPLY_SECONDS):
            raise OSError(errno.ETIMEDOUT, f"no reply after {REPLY_SECONDS:g} s")
    if reply.target.op == Op.ERROR:
        raise error(reply.target.payload.rstrip(b"\0"))
