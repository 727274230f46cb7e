"""The connections of the trio client: raw sockets and what was said over each.

This is the hot path of every call, so there is no stream object in between: the call is written at
once, the task sleeps a single time until the answer is there, and the answer is read at once.
"""

from __future__ import annotations

import socket

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    notify_closing,
    wait_readable,
    wait_writable,
)

from lightvm.calls import Method, P, R
from lightvm.conversation import Conversation, lost
from lightvm.endpoint import BUSY_DELAYS_S, MAX_IDLE, busy, try_connect

_READ_BYTES = 65536


class Connection:
    """A connected, non-blocking Unix socket for one call at a time."""

    __slots__ = ("_socket", "conversation")

    def __init__(self, sock: socket.socket) -> None:
        """Own a connected, non-blocking socket."""
        self._socket = sock
        self.conversation = Conversation()

    async def send(self, method: Method[P, R], parameters: P, *, more: bool = False) -> bool:
        """Send a call, or return False where the daemon has closed the connection.

        It cannot have read all of the call then. This is a checkpoint only where the socket is
        full; a cancelled send leaves the connection unusable.
        """
        rest = memoryview(self.conversation.begin(method, parameters, more=more))
        while True:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                return False
            if not rest:
                return True
            await wait_writable(self._socket)

    async def receive(self, method: Method[P, R]) -> tuple[R, bool]:
        """Return the next reply to the call that was sent, and whether more replies follow.

        Raises what `Conversation.next_reply` raises, and `ConnectionLost`. Always a checkpoint;
        cancellation loses no reply.
        """
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this connection is closed")
        await checkpoint_if_cancelled()
        reply = self.conversation.next_reply(method)
        if reply is not None:
            await cancel_shielded_checkpoint()
            return reply
        while reply is None:
            await wait_readable(self._socket)
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except ConnectionResetError as exc:
                raise lost() from exc
            self.conversation.feed(data)
            reply = self.conversation.next_reply(method)
        return reply

    def close(self) -> None:
        """Close the socket; a task that waits for it gets `trio.ClosedResourceError`."""
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()


class Connections:
    """The connections of one client: idle ones to take, new ones where there are none."""

    def __init__(self, path: str) -> None:
        """Start without any connection."""
        self._path = path
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    async def open(self) -> Connection:
        """Open a connection; raises `NoDaemon`.

        It is a checkpoint only where the daemon is busy.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            for delay in BUSY_DELAYS_S:
                if try_connect(sock, self._path):
                    return Connection(sock)
                # a full queue cannot be polled for: the listener does not know the socket yet
                await trio.sleep(delay)
            raise busy(self._path)
        except BaseException:
            sock.close()
            raise

    async def begin(self, method: Method[P, R], parameters: P, *, more: bool = False) -> Connection:
        """Send a call over an idle connection, or over a new one where those are dead."""
        await checkpoint_if_cancelled()
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this client is closed")
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self.open()
            self._busy.add(connection)
            sent = False
            try:
                # what a new connection refuses to take may still be explained by an error reply
                sent = await connection.send(method, parameters, more=more) or not reused
            finally:
                if not sent:
                    self.give_back(connection)
            if sent:
                return connection

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next call if it can carry one, or else close it."""
        self._busy.discard(connection)
        if connection.conversation.reusable and not self._closed and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close all; a call in flight raises `trio.ClosedResourceError`."""
        self._closed = True
        for connection in [*self._idle, *self._busy]:
            connection.close()
        self._idle.clear()
