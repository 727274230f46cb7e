"""The client's side of one connection, without input or output: one call at a time."""

from __future__ import annotations

import msgspec

from lightvm import errors
from lightvm.calls import Method, P, R
from lightvm.wire import MAX_MESSAGE_BYTES, Framer, decode_reply, encode_call


class Conversation:
    """Calls and replies over one connection.

    Begin a call and send the bytes that it returns; feed what comes back; take replies until one
    does not continue. `reusable` tells whether the connection can carry another call: not while a
    reply is outstanding, and never again after bytes that make no sense. It is the one thing to
    look at when a call ends, in whatever way it ends.
    """

    __slots__ = ("_framer", "_more", "reusable")

    def __init__(self) -> None:
        """Start a conversation in which nothing has been said."""
        self._framer = Framer()
        self._more = False
        self.reusable = True

    def begin(self, method: Method[P, R], parameters: P, *, more: bool = False) -> bytes:
        """Return the bytes of a call; with `more` it may have any number of replies.

        Raises `BadRequest` where the parameters have no JSON form or are longer than a message may
        be.
        """
        try:
            call = encode_call(method, parameters, more=more)
        except (msgspec.EncodeError, TypeError, ValueError, OverflowError) as exc:
            raise errors.BadRequest(f"a value cannot be sent: {exc}") from exc
        if len(call) > MAX_MESSAGE_BYTES:
            raise errors.BadRequest(f"the request is longer than {MAX_MESSAGE_BYTES} bytes")
        self._more = more
        self.reusable = False
        return call

    def feed(self, data: bytes) -> None:
        """Add received bytes; none at all mean that the daemon has closed the connection.

        Raises `ConnectionLost` or `ProtocolError`.
        """
        if not data:
            raise lost()
        self._framer.feed(data)

    def next_reply(self, method: Method[P, R]) -> tuple[R, bool] | None:
        """Return the next reply to `method` and whether more replies follow, or None: feed more.

        Raises the error that the reply carries, or `ProtocolError`.
        """
        message = self._framer.next_message()
        if message is None:
            return None
        try:
            result, continues = decode_reply(method, message)
        except errors.ProtocolError:
            raise
        except errors.LightVMError:
            self._end()
            raise
        if not continues:
            self._end()
        elif not self._more:
            raise errors.ProtocolError(f"more than one reply to {method.name}")
        return result, continues

    def _end(self) -> None:
        self.reusable = not self._framer.pending


def lost() -> errors.ConnectionLost:
    """Return the error for a connection that ended before the reply came."""
    return errors.ConnectionLost("the daemon closed the connection before it answered")
