"""The connections of the blocking client, and the time limit of its calls."""

from __future__ import annotations

import math
import select
import socket
import time

from lightvm import errors
from lightvm.calls import Method, P, R
from lightvm.conversation import Conversation, lost
from lightvm.endpoint import BUSY_DELAYS_S, MAX_IDLE, busy, try_connect

_READ_BYTES = 65536


class Deadline:
    """The moment by which a call must be over; None seconds stand for never."""

    __slots__ = ("_end", "_limit_s")

    def __init__(self, limit_s: float | None) -> None:
        """Start the clock."""
        self._limit_s = limit_s
        self._end = None if limit_s is None else time.monotonic() + limit_s

    def left_s(self) -> float | None:
        """Return the seconds that are left, more than 0, or None for no limit; raises `TimedOut`."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise self._passed()
        return left

    def wait(self, poll: select.poll) -> None:
        """Wait until a socket has something to tell; raises `TimedOut`."""
        left = self.left_s()
        if not poll.poll(None if left is None else math.ceil(left * 1000)):
            raise self._passed()

    def _passed(self) -> errors.TimedOut:
        return errors.TimedOut(f"the daemon did not answer within {self._limit_s:g} s")


class Connection:
    """A connected Unix socket for one call at a time.

    System calls are what a call costs, so there are three where no time limit is set: send, poll and receive; with a
    limit there are looks at the clock, too. Who sleeps in receive instead is woken twice on Linux, first when the other
    side takes what it was sent.
    """

    __slots__ = ("_readable", "_socket", "_writable", "conversation")

    def __init__(self, sock: socket.socket) -> None:
        """Own a connected socket."""
        sock.setblocking(True)
        self._socket = sock
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)
        self.conversation = Conversation()

    def send(
        self, method: Method[P, R], parameters: P, deadline: Deadline, *, more: bool = False
    ) -> bool:
        """Send a call, or return False where the daemon has closed the connection.

        It cannot have read all of the call then. Raises `TimedOut`.
        """
        rest = memoryview(self.conversation.begin(method, parameters, more=more))
        while True:
            try:
                rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                return False
            if not rest:
                return True
            deadline.wait(self._writable)

    def receive(self, method: Method[P, R], deadline: Deadline) -> tuple[R, bool]:
        """Return the next reply to the call that was sent, and whether more replies follow.

        Raises what `Conversation.next_reply` raises, `ConnectionLost` and `TimedOut`.
        """
        if self._socket.fileno() < 0:
            raise RuntimeError("this connection is closed")
        while (reply := self.conversation.next_reply(method)) is None:
            deadline.wait(self._readable)
            try:
                data = self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except ConnectionResetError as exc:
                raise lost() from exc
            self.conversation.feed(data)
        return reply

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Connections:
    """The connections of one client: idle ones to take, new ones where there are none.

    Threads may share it: a connection that is taken belongs to the taker.
    """

    def __init__(self, path: str) -> None:
        """Start without any connection."""
        self._path = path
        self._idle: list[Connection] = []
        self._closed = False

    def open(self, deadline: Deadline) -> Connection:
        """Open a connection; raises `NoDaemon`, or `TimedOut` where the daemon is busy."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            for delay in BUSY_DELAYS_S:
                if try_connect(sock, self._path):
                    return Connection(sock)
                # a full queue cannot be polled for: the listener does not know the socket yet
                left = deadline.left_s()
                time.sleep(delay if left is None else min(delay, left))
            raise busy(self._path)
        except BaseException:
            sock.close()
            raise

    def begin(
        self, method: Method[P, R], parameters: P, deadline: Deadline, *, more: bool = False
    ) -> Connection:
        """Send a call over an idle connection, or over a new one where those are dead."""
        while True:
            if self._closed:
                raise RuntimeError("this client is closed")
            try:
                connection, reused = self._idle.pop(), True
            except IndexError:
                connection, reused = self.open(deadline), False
            sent = False
            try:
                # what a new connection refuses to take may still be explained by an error reply
                sent = connection.send(method, parameters, deadline, more=more) or not reused
            finally:
                if not sent:
                    self.give_back(connection)
            if sent:
                return connection

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next call if it can carry one, or else close it."""
        if connection.conversation.reusable and not self._closed and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections now, and the others when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
