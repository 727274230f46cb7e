"""Varlink without input or output: bytes to messages and back.

A message is one JSON object followed by a NUL byte (varlink.org). A call has `method`, `parameters` and the flags
`more`, `oneway` and `upgrade`; a reply has `parameters` and `continues`, or `error` with `parameters`. Both clients
and the server are built on this module; it knows the types of every method from `lightvm.calls`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec

from lightvm import errors
from lightvm.calls import CREATE_MANY, INTERFACE, METHODS, SERVICE, CreateManyCall, Method, P, R
from lightvm.model import CreateRequest

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""No message may be longer, in either direction."""

_EMPTY = msgspec.Raw(b"{}")

# A deeply nested message is refused by the recursion limit; it is no defect of ours.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Call(msgspec.Struct, frozen=True):
    """A call as it came over the wire; `parameters` is not decoded yet."""

    method: str
    parameters: msgspec.Raw = _EMPTY
    more: bool = False
    oneway: bool = False
    upgrade: bool = False


T = TypeVar("T")


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """A reply that is no error."""

    parameters: T
    continues: bool = False
    error: None = None


class ErrorReply(msgspec.Struct, frozen=True):
    """A reply that is an error; `parameters` is not decoded yet."""

    error: str
    parameters: msgspec.Raw = _EMPTY


class _Explanation(msgspec.Struct, frozen=True):
    """Parameters of an error reply; those of the service's own errors have a field of their own."""

    message: str | None = None
    where: str | None = None
    parameter: str | None = None
    method: str | None = None
    interface: str | None = None


class _Many(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of CreateMany whose requests are not decoded yet."""

    requests: tuple[msgspec.Raw, ...]


class _ManyDecoder:
    """Decodes the parameters of CreateMany, and where all ask for the same in the same words, does that once."""

    _many = msgspec.json.Decoder(_Many)
    _one = msgspec.json.Decoder(CreateRequest)
    _all = msgspec.json.Decoder(CreateManyCall)

    def decode(self, data: msgspec.Raw) -> CreateManyCall:
        with suppress(msgspec.DecodeError):  # then what is wrong is said of the whole
            requests = self._many.decode(data).requests
            if requests and requests.count(requests[0]) == len(requests):
                return CreateManyCall(requests=(self._one.decode(requests[0]),) * len(requests))
        return self._all.decode(data)


_encoder = msgspec.json.Encoder()
_call_decoder = msgspec.json.Decoder(Call)
_error_decoder = msgspec.json.Decoder(ErrorReply)
_explanation_decoder = msgspec.json.Decoder(_Explanation)
_parameter_decoders: dict[str, msgspec.json.Decoder[msgspec.Struct] | _ManyDecoder] = {
    name: msgspec.json.Decoder(m.parameters) for name, m in METHODS.items()
} | {CREATE_MANY.name: _ManyDecoder()}
_reply_decoders: dict[str, msgspec.json.Decoder[Reply[Any]]] = {
    name: msgspec.json.Decoder(Reply[m.reply])  # type: ignore[name-defined]  # known at run time only
    for name, m in METHODS.items()
}


class Framer:
    """Cuts a stream of bytes into messages.

    Feed it what was received; take messages until there is none.
    """

    __slots__ = ("_buffer", "_limit", "_searched", "_whole")

    def __init__(self, limit: int = MAX_MESSAGE_BYTES) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._searched = 0
        """Up to where the buffer has no NUL."""
        self._whole: bytes | None = None
        """The one message that there is, with an empty buffer: as messages come where nobody is in a hurry."""

    def feed(self, data: bytes) -> None:
        """Add received bytes.

        Raises `ProtocolError` where an unfinished message has grown over the limit.
        """
        if self._whole is not None:
            self._buffer += self._whole + b"\0"
            self._whole = None
        elif not self._buffer and data and data.find(b"\0") == len(data) - 1:
            self._whole = data[:-1]
            return
        self._buffer += data
        if len(self._buffer) > self._limit and self._buffer.find(b"\0", self._searched) < 0:
            raise errors.ProtocolError(f"a message is longer than {self._limit} bytes")

    def next_message(self) -> bytes | None:
        """Return the next whole message without its NUL, or None."""
        if self._whole is not None:
            message, self._whole = self._whole, None
            return message
        end = self._buffer.find(b"\0", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        message = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return message

    @property
    def pending(self) -> int:
        """Bytes of what has not been taken."""
        return len(self._buffer) + len(self._whole or b"")


def encode_call(
    method: Method[P, R], parameters: P, *, more: bool = False, oneway: bool = False
) -> bytes:
    """Return one call, NUL included."""
    more_flag = b',"more":true' if more else b""
    oneway_flag = b',"oneway":true' if oneway else b""
    return b'{"method":"%b","parameters":%b%b%b}\0' % (
        method.name.encode(),
        _encoder.encode(parameters),
        more_flag,
        oneway_flag,
    )


def decode_call(message: bytes) -> Call:
    """Return the call in a message; raises `ProtocolError` where it is none."""
    try:
        return _call_decoder.decode(message)
    except _NOT_JSON as exc:
        raise errors.ProtocolError(f"not a Varlink call: {exc}") from exc


def decode_parameters(call: Call) -> msgspec.Struct:
    """Return the typed parameters of a call whose method is in `METHODS`; raises `BadRequest`."""
    try:
        return _parameter_decoders[call.method].decode(call.parameters)
    except msgspec.ValidationError as exc:
        message, _, where = str(exc).partition(" - at ")
        raise errors.BadRequest(message, where.strip("`").removeprefix("$.") or None) from exc
    except _NOT_JSON as exc:
        raise errors.BadRequest(f"parameters are not JSON: {exc}", "parameters") from exc


def encode_reply(result: msgspec.Struct, *, continues: bool = False) -> bytes:
    """Return one reply, NUL included."""
    if continues:
        return b'{"parameters":%b,"continues":true}\0' % _encoder.encode(result)
    return b'{"parameters":%b}\0' % _encoder.encode(result)


_CREATED = b'{"parameters":{"created":'


def join_created(replies: Sequence[bytes]) -> tuple[bytearray, list[int]]:
    """Return the reply to a `CreateMany` all of which has come about, made of the replies that a `Create` would get.

    With it come the places where each of these would begin, with its own first bytes, to have its content there.
    """
    joined = bytearray(b'{"parameters":{"results":[')
    places = []
    for index, reply in enumerate(replies):
        joined += b'{"index":%d,"created":' % index
        places.append(len(joined) - len(_CREATED))
        joined += reply[len(_CREATED) : -3]
        joined += b"},"
    joined[-1:] = b"]}}\0"
    return joined, places


def join_one(replies: Sequence[bytes]) -> tuple[bytearray, list[int]]:
    """Return the one reply that there is, and where it begins, as `join_created` does for several."""
    (reply,) = replies
    return bytearray(reply), [0]


def encode_error(error: errors.LightVMError) -> bytes:
    """Return the error reply of one of our own errors, NUL included."""
    parameters = {"message": error.message}
    if error.where is not None:
        parameters["where"] = error.where
    name = f"{INTERFACE}.{errors.camel_case(error.code)}"
    return _encoder.encode({"error": name, "parameters": parameters}) + b"\0"


def encode_service_error(name: str, field: str, value: str) -> bytes:
    """Return an error of ``org.varlink.service`` such as MethodNotFound, NUL included."""
    return _encoder.encode({"error": f"{SERVICE}.{name}", "parameters": {field: value}}) + b"\0"


def decode_reply(method: Method[P, R], message: bytes) -> tuple[R, bool]:
    """Return the typed result in a reply to `method`, and whether more replies follow.

    Raises the error that the reply carries, or `ProtocolError` where the message is no reply to that method.
    """
    try:
        reply = _reply_decoders[method.name].decode(message)
    except _NOT_JSON as exc:
        error = _error_in(message) or errors.ProtocolError(f"not a reply to {method.name}: {exc}")
        raise error from None
    return reply.parameters, reply.continues


def _error_in(message: bytes) -> errors.LightVMError | None:
    """Return the error that a message carries, or None where it carries none."""
    try:
        reply = _error_decoder.decode(message)
        explanation = _explanation_decoder.decode(reply.parameters)
    except _NOT_JSON:
        return None
    interface, _, name = reply.error.rpartition(".")
    if interface == SERVICE:
        about = explanation.parameter or explanation.method or explanation.interface
        return errors.ProtocolError(f"the service answered {name}", about)
    cls = errors.BY_CODE.get(errors.kebab_case(name)) if interface == INTERFACE else None
    if cls is None:
        return errors.ProtocolError(f"the service answered with the unknown error {reply.error}")
    return cls(explanation.message or name, explanation.where)
