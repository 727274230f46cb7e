"""One connection to xenstored: requests, replies and watches as its protocol has them."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum

import trio

REPLY_SECONDS = 10.0
"""How long xenstored may take to reply."""

MOST_BYTES = 4096
"""No message has more after its header (`XENSTORE_PAYLOAD_MAX`)."""

_HEADER = struct.Struct("=IIII")
"""Type, request, transaction, bytes that follow."""

_TIMEVAL = struct.Struct("@ll")
"""Seconds and microseconds (``sys/time.h``)."""

_SHORTEST_REPLY = _HEADER.size + len("OK\0")
"""Of all replies to requests that change something: errors have longer names."""

_MARK = "w"


class Op(IntEnum):
    """Types of messages."""

    DIRECTORY = 1
    READ = 2
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    WRITE = 11
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    DIRECTORY_PART = 22


class Refused(Exception):
    """xenstored's word that a request cannot be carried out; the connection goes on."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self.errno: int = getattr(errno, name, errno.EIO)
        self.path = path


class Connection:
    """A connection, for one thread at a time. Any `OSError` ends its use."""

    def __init__(self, socket_path: str) -> None:
        """Connect; raises `OSError`."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._buffer = bytearray()
        self._events = 0
        try:
            limit = _TIMEVAL.pack(*divmod(round(REPLY_SECONDS * 1e6), 1000000))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, option, limit)
            self._connect(socket_path)
            self._socket.settimeout(REPLY_SECONDS)
        except BaseException:
            self._socket.close()
            raise

    def _connect(self, socket_path: str) -> None:
        """Connect; xenstored's queue has room for one or two, so whoever comes while it is busy has to wait."""
        try:
            self._socket.connect(socket_path)
        except BlockingIOError:
            raise OSError(errno.ETIMEDOUT, f"no connection after {REPLY_SECONDS:g} s") from None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, op: Op, *words: str, transaction: int = 0) -> bytes:
        """Send one request, whose words have NULs between them, and return the reply; raises `Refused`."""
        self._socket.sendall(_pack(op, words, transaction))
        return self._take_reply(op, words[0])

    def ask_all(self, requests: Sequence[tuple[Op, tuple[str, ...]]], transaction: int) -> None:
        """Send requests that change something, one behind the other; raises what the first says that fails."""
        self._socket.sendall(b"".join(_pack(op, words, transaction) for op, words in requests))
        self._receive_whole(len(requests) * _SHORTEST_REPLY)
        refused = None
        for op, words in requests:
            try:
                self._take_reply(op, words[0])
            except Refused as exc:
                refused = refused or exc
        if refused is not None:
            raise refused

    @contextmanager
    def watching(self, path: str) -> Iterator[None]:
        """Hear of every change of a node."""
        self.ask(Op.WATCH, path, _MARK, "")
        try:
            yield
        except Refused:
            self._unwatch(path)
            raise
        self._unwatch(path)

    def _unwatch(self, path: str) -> None:
        self.ask(Op.UNWATCH, path, _MARK, "")
        self._events = 0

    def wait_event(self, end: float) -> bool:
        """Wait until the node that is watched may have changed; False where it is the moment `end` first."""
        while not self._events:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._socket.settimeout(left)
            try:
                self._take_message()
            except TimeoutError:
                return False
            finally:
                self._socket.settimeout(REPLY_SECONDS)
        self._events = 0
        return True

    def _take_reply(self, op: Op, path: str) -> bytes:
        while (found := self._take_message())[0] == Op.WATCH_EVENT:
            pass
        kind, payload = found
        if kind == Op.ERROR:
            raise Refused(payload.rstrip(b"\0").decode("ascii", "replace"), path)
        if kind != op:
            raise OSError(errno.EPROTO, f"a reply of type {kind} to a request of type {op}")
        return payload

    def _take_message(self) -> tuple[int, bytes]:
        """Return the next message, type and payload; where that takes too long, what has come of it stays."""
        self._receive(_HEADER.size)
        kind, _, _, size = _HEADER.unpack_from(self._buffer)
        if size > MOST_BYTES:
            raise OSError(errno.EPROTO, f"a message of {size} bytes")
        end = _HEADER.size + size
        self._receive(end)
        payload = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        self._events += kind == Op.WATCH_EVENT
        return kind, payload

    def _receive_whole(self, size: int) -> None:
        """Receive so many bytes more in one call: woken for each reply, this thread would be in xenstored's way."""
        self._socket.settimeout(None)
        try:
            self._buffer += self._socket.recv(size, socket.MSG_WAITALL)
        except BlockingIOError:
            raise OSError(errno.ETIMEDOUT, f"no reply after {REPLY_SECONDS:g} s") from None
        finally:
            self._socket.settimeout(REPLY_SECONDS)

    def _receive(self, size: int) -> None:
        """Receive until there are so many bytes."""
        while len(self._buffer) < size:
            try:
                received = self._socket.recv(65536)
            except TimeoutError:
                raise OSError(errno.ETIMEDOUT, f"no reply after {REPLY_SECONDS:g} s") from None
            if not received:
                raise OSError(errno.EPIPE, "xenstored has closed the connection")
            self._buffer += received


class Releases:
    """A connection that hears of domains that end, of those that xenstored knows: many ends may be one message.

    It is for the event loop, and never waits for a reply: whatever comes is a hint, and there is nothing else to come.
    """

    def __init__(self, socket_path: str) -> None:
        """Connect, and ask for it; raises `OSError`."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setblocking(False)
            self._socket.connect(socket_path)
            self._socket.send(_pack(Op.WATCH, ("@releaseDomain", _MARK, ""), 0))
        except BaseException:
            self._socket.close()
            raise

    async def wait(self) -> None:
        """Wait for a hint; raises `OSError` where there will be none any more."""
        await trio.lowlevel.wait_readable(self._socket)
        with suppress(BlockingIOError):
            if not self._socket.recv(65536):
                raise OSError(errno.EPIPE, "xenstored has closed the connection")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _pack(op: Op, words: Sequence[str], transaction: int) -> bytes:
    payload = b"\0".join(word.encode() for word in words)
    return _HEADER.pack(op, 0, transaction, len(payload)) + payload
