"""What the native ``lvm`` makes of replies that no daemon of ours gives, beside the Python command."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec
import pytest

from lightvm import calls, wire
from lightvm.model import Exit, ExitReason, Mode, Source, State
from tests.native.replies import ALL, FULL, Both, reply, sending
from tests.unit.scripted import Peer, answering


def variations(value: object) -> Iterator[tuple[str, object]]:
    """Yield a JSON value with each of its parts left out, of no type, or of another one."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            for name, other in variations(item):
                yield f"{index}.{name}", [*value[:index], other, *value[index + 1 :]]
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        yield f"{key} missing", {k: v for k, v in value.items() if k != key}
        for other in (None, True, 0.5, "x", []):
            yield f"{key} {other}", value | {key: other}
        for name, other in variations(item):
            yield f"{key}.{name}", value | {key: other}
    yield "more", value | {"unknown": {"a": [None, "\u00e9"]}}


@pytest.mark.parametrize("word", [*State, *Mode, *Source, *ExitReason])
def test_every_word_of_the_model_is_known(both: Both, word: StrEnum) -> None:
    domain, created = FULL, ALL.created
    if isinstance(word, Source):
        created = msgspec.structs.replace(created, source=word)
    elif isinstance(word, ExitReason):
        domain = msgspec.structs.replace(domain, exit=Exit(reason=word, at=0.0, status=3))
    else:
        field = "state" if isinstance(word, State) else "mode"
        domain = msgspec.structs.replace(domain, **{field: word})
    created = msgspec.structs.replace(created, domain=domain)
    done, _ = both("create", "/k", plays=(answering(Create=calls.CreateReply(created=created)),))
    assert done.code == 0


def test_sample_has_every_field() -> None:
    for value in (ALL.created.phases, FULL, FULL.vifs[0], FULL.vbds[0]):
        names = {field.name for field in msgspec.structs.fields(value)}
        assert set(msgspec.to_builtins(value)) == names


@pytest.mark.slow
def test_reply_is_refused_by_both_or_by_none(both: Both) -> None:
    cases = list(variations(msgspec.to_builtins(ALL)))
    assert len(cases) > 180
    codes = [
        both("create", "/k", plays=(sending(reply(case)),), exact=False)[0].code
        for _, case in cases
    ]
    assert {0, 1} == set(codes)


@pytest.mark.parametrize(
    "message",
    [
        b"\0",
        b"?\0",
        b"[]\0",
        b"{}\0",
        b'{"parameters":{}}\0',
        b'{"parameters":null}\0',
        b'{"parameters":{"created":{}}}\0',
        b'{"parameters":' + b"[" * 100_000 + b"\0",
        b'{"parameters":{"created":"\xff"}}\0',
        b'{"error":5}\0',
        b'{"error":"io.github.lightvm.TimedOut","parameters":[]}\0',
        reply(msgspec.to_builtins(ALL))[:-2] + b"\0",
        reply(msgspec.to_builtins(ALL))[:-1] + b",\0",
    ],
)
def test_garbage_is_a_protocol_error(both: Both, message: bytes) -> None:
    done, _ = both("create", "/k", plays=(sending(message),), exact=False)
    assert done.code == 1
    assert done.err.startswith("lightvm: protocol-error: not a reply to io.github.lightvm.Create")


def test_garbage_is_left_to_python_where_it_may_be_asked_again(both: Both) -> None:
    for verb in ("info", "wait"):
        done, _ = both(verb, "x", plays=(sending(b'{"parameters":{"domain":5}}\0'),), handed=True)
        assert done.err.startswith("lightvm: protocol-error: ")


def test_second_reply_to_one_call_is_passed_over(both: Both) -> None:
    done, _ = both("create", "/k", plays=(sending(reply(ALL) + reply(ALL) + b"x"),))
    assert done.code == 0


def test_reply_that_promises_another_is_a_protocol_error(both: Both) -> None:
    for words, value in ((("create", "/k"), ALL), (("destroy", "a"), calls.DestroyReply())):
        message = wire.encode_reply(value, continues=True)
        done, _ = both(*words, plays=(sending(message),))
        assert done.err.startswith("lightvm: protocol-error: more than one reply to ")


def test_reply_may_come_byte_by_byte(both: Both) -> None:
    message = reply(ALL)
    both("create", "/k", plays=(sending(*(message[i : i + 1] for i in range(len(message)))),))


@pytest.mark.parametrize("sent", [b"", b'{"parameters":', b"x" * 9000])
def test_connection_that_ends_early_is_lost(both: Both, sent: bytes) -> None:
    for verb in ("create", "destroy", "info", "list", "wait"):
        words = (verb,) if verb == "list" else (verb, "/k")
        done, _ = both(*words, plays=(sending(sent),))
        assert done.err.startswith("lightvm: connection-lost: ")


def test_connection_that_ends_at_once_is_lost(both: Both) -> None:
    done, _ = both("create", "/k", plays=(lambda peer: None,))
    assert done.code == 1


def test_endless_message_is_a_protocol_error(both: Both) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        try:
            while True:
                peer.send(b"x" * (1 << 20))
        except OSError:
            pass

    done, _ = both("create", "/k", plays=(play,))
    assert done.err == "lightvm: protocol-error: a message is longer than 16777216 bytes\n"
