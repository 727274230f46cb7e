"""Whoever made a call, as its handler sees him: somebody to tell more, and who may go away."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import trio

from lightvm import errors, wire

T = TypeVar("T")

Send = Callable[[msgspec.Struct], Awaitable[None]]
"""Sends one more reply of a streaming call."""


class Caller:
    """The other side of one connection; `send` is None where a call did not ask for `more`.

    One that is `deaf` wants no reply at all.
    """

    __slots__ = ("_deaf", "_peer", "_stop", "send", "unsent")

    def __init__(
        self, peer: socket.socket, send: Send | None, stop: trio.Event, *, deaf: bool = False
    ) -> None:
        self._peer = peer
        self._stop = stop
        self._deaf = deaf
        self.send = send
        self.unsent: bytes | None = None
        """What is left of a reply that was sent by `tell`; None before that."""

    def tell(self, result: msgspec.Struct) -> None:
        """Reply before the handler is through, which then may not fail any more, and may not wait."""
        self.tell_reply(wire.encode_reply(result))

    def tell_reply(self, reply: bytes) -> None:
        """Do as `tell` does with a reply that is encoded already."""
        try:
            sent = len(reply) if self._deaf else self._peer.send(reply)
        except OSError:  # no room, or nobody there any more: whoever sends the rest finds out
            sent = 0
        self.unsent = reply[sent:]

    async def until_hangup(self, work: Awaitable[T]) -> T:
        """Await something long, but not for a caller who has gone, and not when the daemon stops.

        Raises `ConnectionLost` or `StoppingNow` then; the work is cancelled.
        """
        result: list[T] = []
        failure: errors.LightVMError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_on_hangup, nursery.cancel_scope)
            nursery.start_soon(self._cancel_on_stop, nursery.cancel_scope)
            try:
                result.append(await work)
            except errors.LightVMError as exc:  # out of the nursery as itself, not in a group
                failure = exc
            nursery.cancel_scope.cancel()
        if result:
            return result[0]
        if failure is None and self._stop.is_set():
            failure = stopping()
        raise failure or errors.ConnectionLost("the client has gone")

    async def _cancel_on_hangup(self, scope: trio.CancelScope) -> None:
        """Cancel when the caller has gone; one that sends its next call early is no reason."""
        await trio.lowlevel.wait_readable(self._peer)
        try:
            gone = not self._peer.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            scope.cancel()

    async def _cancel_on_stop(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()


def stopping() -> errors.StoppingNow:
    """Return the error for a call that comes, or still waits, while the daemon stops."""
    return errors.StoppingNow("the daemon is on its way down; ask again after its restart")
