"""A small xenstored at the other end of a socket."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

from lightvm.daemon.xenstore.connection import Op

HEADER = struct.Struct("=IIII")
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
