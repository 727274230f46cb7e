"""The codec: framing, calls, replies and errors."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightvm import calls, errors, wire
from lightvm.model import CreateRequest, WaitFor
from tests.unit.samples import CREATED, DOMAIN

MESSAGES = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"")))


@given(MESSAGES, st.lists(st.integers(min_value=0, max_value=200)))
def test_framer_gives_the_same_messages_however_the_bytes_are_cut(
    messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(message + b"\0" for message in messages)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    framer = wire.Framer()
    found = []
    for start, end in pairwise(edges):
        framer.feed(stream[start:end])
        while (message := framer.next_message()) is not None:
            found.append(message)
    assert found == messages
    assert framer.pending == 0


def test_framer_counts_the_bytes_of_an_unfinished_message() -> None:
    framer = wire.Framer()
    framer.feed(b"{}\0{")
    assert framer.next_message() == b"{}"
    assert framer.next_message() is None
    assert framer.pending == 1


def test_framer_refuses_an_unfinished_message_over_the_limit() -> None:
    framer = wire.Framer(limit=10)
    framer.feed(b"x" * 10)
    with pytest.raises(errors.ProtocolError, match="longer than 10 bytes"):
        framer.feed(b"x")


def test_framer_takes_many_messages_that_are_over_the_limit_only_together() -> None:
    framer = wire.Framer(limit=10)
    framer.feed(b"12345678\0" * 3)
    assert [framer.next_message() for _ in range(3)] == [b"12345678"] * 3


def test_call_has_only_what_differs_from_the_default() -> None:
    request = CreateRequest(image="/k", wait=WaitFor.READY)
    data = wire.encode_call(calls.CREATE, calls.CreateCall(request=request))
    assert json.loads(data[:-1]) == {
        "method": "io.github.lightvm.Create",
        "parameters": {"request": {"image": "/k", "wait": "ready"}},
    }
    assert data.endswith(b"\0")
    assert data.count(b"\0") == 1


def test_call_carries_its_flags() -> None:
    data = wire.encode_call(calls.WATCH, calls.Nothing(), more=True, oneway=True)
    call = wire.decode_call(data[:-1])
    assert (call.more, call.oneway, call.upgrade) == (True, True, False)


def test_call_comes_back_with_its_parameters() -> None:
    sent = calls.CreateCall(request=CreateRequest(image="/k", modules=("/a", "/b")))
    call = wire.decode_call(wire.encode_call(calls.CREATE, sent)[:-1])
    assert call.method == calls.CREATE.name
    assert wire.decode_parameters(call) == sent


@pytest.mark.parametrize("images", ["", "a", "aaa", "aab", "abb"])
def test_what_is_asked_for_several_times_is_decoded_once(images: str) -> None:
    requests = tuple(CreateRequest(image=f"/{image}", wait=WaitFor.READY) for image in images)
    sent = calls.CreateManyCall(requests=requests)
    call = wire.decode_call(wire.encode_call(calls.CREATE_MANY, sent)[:-1])
    came = wire.decode_parameters(call)
    assert came == sent
    assert isinstance(came, calls.CreateManyCall)
    if len(set(images)) == 1:
        assert len({id(each) for each in came.requests}) == 1


@pytest.mark.parametrize(
    "message",
    [b"", b"{", b"[]", b"{}", b'{"method": 1}', b'"x"', b"\xff\xfe", b'{"method":"\xff"}'],
)
def test_what_is_no_call_is_a_protocol_error(message: bytes) -> None:
    with pytest.raises(errors.ProtocolError, match="not a Varlink call"):
        wire.decode_call(message)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_call_or_a_protocol_error(message: bytes) -> None:
    try:
        wire.decode_call(message)
    except errors.ProtocolError:
        return


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ('{"request": {"image": 5}}', "request.image"),
        ('{"request": {"image": "/k", "vcpu": 1}}', "request"),
        ('{"request": {"image": "/k", "wait": "never"}}', "request.wait"),
        ('{"request": {"image": "/k", "memory_kib": 1.5}}', "request.memory_kib"),
        ('{"request": {"image": "/k", "modules": ["/a", 1]}}', "request.modules[1]"),
    ],
)
def test_wrong_parameters_are_a_bad_request_that_names_the_place(
    parameters: str, where: str
) -> None:
    call = wire.decode_call(
        f'{{"method":"{calls.CREATE.name}","parameters":{parameters}}}'.encode()
    )
    with pytest.raises(errors.BadRequest) as caught:
        wire.decode_parameters(call)
    assert caught.value.where == where


def test_missing_parameters_are_a_bad_request() -> None:
    call = wire.decode_call(f'{{"method":"{calls.INFO.name}"}}'.encode())
    with pytest.raises(errors.BadRequest, match="domain"):
        wire.decode_parameters(call)


def test_reply_comes_back_typed() -> None:
    data = wire.encode_reply(calls.CreateReply(created=CREATED))
    assert wire.decode_reply(calls.CREATE, data[:-1]) == (calls.CreateReply(created=CREATED), False)


def test_reply_says_that_it_continues() -> None:
    data = wire.encode_reply(calls.WatchReply(), continues=True)
    assert wire.decode_reply(calls.WATCH, data[:-1]) == (calls.WatchReply(), True)


@pytest.mark.parametrize(
    "message",
    [b"", b"nonsense", b"[]", b"{}", b'{"parameters": {"domain": 1}}', b'{"error": 5}', b"\xff"],
)
def test_what_is_no_reply_to_the_method_is_a_protocol_error(message: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        wire.decode_reply(calls.INFO, message)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_reply_or_a_typed_error(message: bytes) -> None:
    try:
        wire.decode_reply(calls.INFO, message)
    except errors.LightVMError:
        return


@pytest.mark.parametrize("cls", errors.BY_CODE.values(), ids=lambda cls: cls.code)
def test_every_error_comes_back_as_itself(cls: type[errors.LightVMError]) -> None:
    sent = cls("no good", "somewhere")
    with pytest.raises(cls) as caught:
        wire.decode_reply(calls.INFO, wire.encode_error(sent)[:-1])
    assert type(caught.value) is cls
    assert (caught.value.message, caught.value.where) == ("no good", "somewhere")


def test_an_error_without_a_place_has_no_where_on_the_wire() -> None:
    assert json.loads(wire.encode_error(errors.NoSuchDomain("who?"))[:-1]) == {
        "error": "io.github.lightvm.NoSuchDomain",
        "parameters": {"message": "who?"},
    }


def test_an_error_that_is_not_known_is_a_protocol_error_with_its_name() -> None:
    with pytest.raises(errors.ProtocolError, match=r"com\.example\.Odd"):
        wire.decode_reply(calls.INFO, b'{"error": "com.example.Odd"}')


def test_an_error_of_the_service_is_a_protocol_error_that_names_the_culprit() -> None:
    data = wire.encode_service_error("MethodNotFound", "method", "io.github.lightvm.Fly")
    with pytest.raises(errors.ProtocolError, match="MethodNotFound") as caught:
        wire.decode_reply(calls.INFO, data[:-1])
    assert caught.value.where == "io.github.lightvm.Fly"


def test_a_reply_has_no_fields_that_are_absent() -> None:
    reply = json.loads(wire.encode_reply(calls.DomainReply(domain=DOMAIN))[:-1])
    assert "exit" not in reply["parameters"]["domain"]
    assert "continues" not in reply


@pytest.mark.parametrize("field", ["other", "parameters"])
def test_a_deeply_nested_call_is_refused(field: str) -> None:
    nested = b"[" * 200_000 + b"]" * 200_000
    message = b'{"method":"io.github.lightvm.List","' + field.encode() + b'":' + nested + b"}"
    with pytest.raises((errors.ProtocolError, errors.BadRequest)):
        wire.decode_parameters(wire.decode_call(message))
