"""The server against clients of every kind."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from lightvm import wire
from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.journal import read_journal
from lightvm.model import ExitReason
from lightvm.testing import InMemory
from tests.unit.daemon.raw import Message, Raw, call, open_raw
from tests.waits import until

INTERFACE = "io.github.lightvm"
SERVICE = "org.varlink.service"


@pytest.fixture
async def raw(lvm: InMemory) -> AsyncIterator[Raw]:
    """A connection to the daemon."""
    async with open_raw(lvm.socket) as raw:
        yield raw


async def assert_answers(raw: Raw) -> None:
    """Fail unless the daemon goes on answering over this connection."""
    assert "version" in (await raw.call("Version"))["parameters"]


async def test_a_call_is_answered(raw: Raw) -> None:
    assert (await raw.call("Flavors"))["parameters"]["flavors"][0]["name"] == "tiny"


async def test_one_connection_carries_many_calls(raw: Raw) -> None:
    for _ in range(5):
        await assert_answers(raw)


async def test_calls_sent_at_once_are_answered_in_their_order(raw: Raw, lvm: InMemory) -> None:
    names = [f"web-{n}" for n in range(6)]
    await raw.send(*(call("Create", request={"image": lvm.noop, "name": n}) for n in names))
    replies = [await raw.receive() for _ in names]
    assert [reply["parameters"]["created"]["domain"]["name"] for reply in replies] == names


async def test_calls_before_a_hang_up_are_carried_out(lvm: InMemory) -> None:
    async with open_raw(lvm.socket) as raw:
        await raw.send(*(call("Create", request={"image": lvm.noop}) for _ in range(3)))
        await raw.stream.send_eof()
        await raw.wait_closed()
    assert len(lvm.service.registry) == 3


async def test_a_call_may_come_a_byte_at_a_time(raw: Raw) -> None:
    for byte in b'{"method":"io.github.lightvm.Version"}\0':
        await raw.send(bytes([byte]))
        await trio.sleep(0.01)
    assert "parameters" in await raw.receive()


@pytest.mark.parametrize(
    "message",
    [
        b"\0",
        b"rubbish\0",
        b"[]\0",
        b"{}\0",
        b'{"method":7}\0',
        b'{"method":"a.b","more":3}\0',
        b"\xff\xff\0",
        b"{\0",
        b'{"method":"io.github.lightvm.Version","upgrade":true}\0',
        b"GET / HTTP/1.1\r\n\r\n\0",
        b"[" * 100_000 + b"\0",
    ],
)
async def test_what_is_no_call_ends_the_connection_and_nothing_else(
    lvm: InMemory, raw: Raw, message: bytes
) -> None:
    async with open_raw(lvm.socket) as bad:
        await bad.send(message)
        assert await bad.wait_closed() == b""
    await assert_answers(raw)


async def test_a_message_over_the_limit_ends_the_connection(
    lvm: InMemory, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire.Framer.__init__, "__defaults__", (1000,))
    async with open_raw(lvm.socket) as bad:
        await bad.send(b"x" * 1001)
        assert await bad.wait_closed() == b""
    await assert_answers(raw)


async def test_a_client_that_sends_half_a_call_and_goes_leaves_nothing(
    lvm: InMemory, raw: Raw
) -> None:
    async with open_raw(lvm.socket) as half:
        await half.send(b'{"method":"io.gith')
    await assert_answers(raw)


@pytest.mark.parametrize(
    ("method", "error", "parameters"),
    [
        (f"{INTERFACE}.Nope", "MethodNotFound", {"method": f"{INTERFACE}.Nope"}),
        (f"{SERVICE}.Nope", "MethodNotFound", {"method": f"{SERVICE}.Nope"}),
        ("com.example.Nope", "InterfaceNotFound", {"interface": "com.example"}),
        ("io.github.Nope", "InterfaceNotFound", {"interface": "io.github"}),
        ("Nope", "InterfaceNotFound", {"interface": ""}),
        ("", "InterfaceNotFound", {"interface": ""}),
    ],
)
async def test_an_unknown_method_is_told_in_varlink_s_own_words(
    raw: Raw, method: str, error: str, parameters: Message
) -> None:
    await raw.send({"method": method})
    assert await raw.receive() == {"error": f"{SERVICE}.{error}", "parameters": parameters}
    await assert_answers(raw)


@pytest.mark.parametrize(
    ("name", "parameters", "where"),
    [
        ("Create", {}, None),
        ("Create", {"request": {}}, "request"),
        ("Create", {"request": {"image": 3}}, "request.image"),
        ("Create", {"request": {"image": "/k", "imagine": 1}}, "request"),
        ("Create", {"request": {"image": "/k", "wait": "soon"}}, "request.wait"),
        ("Create", {"request": {"image": "/k", "modules": ["/m", 3]}}, "request.modules[1]"),
        ("Create", {"request": {"image": "/k", "vcpus": 2**70}}, "request.vcpus"),
        ("Create", {"request": {"image": "relative"}}, "request.image"),
        ("CreateMany", {"requests": [{"image": "/k"}, {}]}, "requests[1]"),
        ("CreateMany", {"requests": [{"image": 3}] * 2}, "requests[0].image"),
        ("CreateMany", {"requests": [{"image": "/k"}] * 2, "x": 1}, None),
        ("CreateMany", {}, None),
        ("List", {"all": 1}, "all"),
        ("Info", {"domain": 7}, "domain"),
        ("Info", {"domain": "x", "x": 1}, None),
        ("Version", {"x": 1}, None),
        ("Console", {"domain": "x", "offset": -1}, "offset"),
        ("Console", {"domain": "x", "follow": True}, "follow"),
        ("Wait", {"domain": "x", "until": "exited", "timeout_ms": -1}, "timeout_ms"),
        ("Watch", {}, "more"),
    ],
)
async def test_a_bad_parameter_is_refused_with_its_place(
    raw: Raw, name: str, parameters: Message, where: str | None
) -> None:
    reply = await raw.call(name, **parameters)
    assert reply["error"] == f"{INTERFACE}.BadRequest"
    assert reply["parameters"]["message"]
    assert reply["parameters"].get("where") == where
    await assert_answers(raw)


@pytest.mark.parametrize("parameters", ["[]", "3", '"x"', "null", "[[[[", '{"a":'])
async def test_parameters_that_are_no_object_harm_nobody(
    lvm: InMemory, raw: Raw, parameters: str
) -> None:
    async with open_raw(lvm.socket) as bad:
        message = f'{{"method":"{INTERFACE}.Version","parameters":{parameters}}}'
        await bad.send(message.encode() + b"\0")
        await bad.stream.send_eof()
        await bad.wait_closed()
    await assert_answers(raw)


async def test_a_oneway_call_is_carried_out_and_not_answered(raw: Raw, lvm: InMemory) -> None:
    message = call("Create", request={"image": lvm.noop, "name": "web"})
    await raw.send({**message, "oneway": True}, {**call("Nope"), "oneway": True})
    await assert_answers(raw)
    assert lvm.service.registry.find("web")


async def test_who_does_not_wait_is_told_of_an_end_before_the_tables_are_in_order(
    raw: Raw, lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await raw.call("Create", request={"image": lvm.noop, "name": "web"})
    told, registry = [], lvm.service.registry
    forget = registry.forget

    def look(domain: LiveDomain) -> None:
        readable, _, _ = select.select([raw.stream.socket.fileno()], [], [], 0)
        told.append(bool(readable))
        forget(domain)

    monkeypatch.setattr(registry, "forget", look)
    reply = await raw.call("Destroy", domain="web")
    assert told == [True]
    assert reply["parameters"]["domain"]["exit"]["reason"] == "destroyed"
    assert (await raw.call("Info", domain="web"))["error"] == f"{INTERFACE}.NoSuchDomain"


async def test_an_end_that_is_acknowledged_is_in_the_journal(
    raw: Raw, lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a daemon that is killed now is followed by one that gives the domain back."""
    monkeypatch.setattr(lvm.service.lifecycle.burials, "note", lambda domain: None)
    created = await raw.call("Create", request={"image": lvm.noop})
    uuid = created["parameters"]["created"]["domain"]["uuid"].replace("-", "")
    await raw.call("Destroy", domain=uuid)
    past = read_journal(Path(lvm.service.config.daemon.state_dir) / "journal")
    assert past.exits[uuid].reason is ExitReason.DESTROYED


async def test_a_oneway_destroy_is_not_answered(raw: Raw, lvm: InMemory) -> None:
    await raw.call("Create", request={"image": lvm.noop, "name": "web"})
    await raw.send({**call("Destroy", domain="web"), "oneway": True})
    await assert_answers(raw)
    assert not lvm.service.registry.live


async def test_a_client_that_is_slow_to_listen_is_told_all_of_it(raw: Raw, lvm: InMemory) -> None:
    """More is said than a socket holds."""
    names = [f"web{n}" for n in range(150)]
    for name in names:
        await raw.call("Create", request={"image": lvm.noop, "name": name, "cmdline": "x" * 1000})
    await raw.send(*(call("Destroy", domain=name) for name in names))
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert lvm.service.registry.live  # it has to wait
    for name in names:
        assert (await raw.receive())["parameters"]["domain"]["name"] == name


async def test_who_hangs_up_has_destroyed_all_the_same(raw: Raw, lvm: InMemory) -> None:
    async with open_raw(lvm.socket) as other:
        await other.call("Create", request={"image": lvm.noop, "name": "web"})
        await other.send(call("Destroy", domain="web"))
    await until(lambda: not lvm.service.registry.live)
    await assert_answers(raw)


@pytest.mark.parametrize("name", ["Watch", "Console"])
async def test_a_oneway_call_has_no_stream(raw: Raw, lvm: InMemory, name: str) -> None:
    await raw.call("Create", request={"image": lvm.noop, "name": "web"})
    parameters = {"domain": "web", "follow": True} if name == "Console" else {}
    await raw.send({**call(name, more=True, **parameters), "oneway": True})
    await assert_answers(raw)


async def test_a_defect_is_an_internal_error_and_the_daemon_goes_on(
    raw: Raw, lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, key: str) -> None:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(type(lvm.service.registry), "find", fail)
        for name, parameters in [("Info", {}), ("Wait", {"until": "ready"})]:
            reply = await raw.call(name, domain="x", **parameters)
            assert reply["error"] == f"{INTERFACE}.InternalError"
            assert "secret" not in str(reply)
    await assert_answers(raw)


async def test_an_error_has_its_message_and_place(raw: Raw) -> None:
    reply = await raw.call("Info", domain="nobody")
    assert reply["error"] == f"{INTERFACE}.NoSuchDomain"
    assert reply["parameters"]["where"] == "nobody"


async def test_the_service_describes_itself(raw: Raw) -> None:
    await raw.send({"method": f"{SERVICE}.GetInfo"})
    reply = await raw.receive()
    assert reply["parameters"]["interfaces"] == [SERVICE, INTERFACE]


@pytest.mark.parametrize("interface", [SERVICE, INTERFACE])
async def test_every_interface_can_be_fetched(raw: Raw, interface: str) -> None:
    await raw.send(
        {"method": f"{SERVICE}.GetInterfaceDescription", "parameters": {"interface": interface}}
    )
    description = (await raw.receive())["parameters"]["description"]
    assert f"interface {interface}\n" in description


async def test_an_interface_that_is_not_there_cannot_be_fetched(raw: Raw) -> None:
    await raw.send(
        {"method": f"{SERVICE}.GetInterfaceDescription", "parameters": {"interface": "a.b"}}
    )
    assert await raw.receive() == {
        "error": f"{SERVICE}.InterfaceNotFound",
        "parameters": {"interface": "a.b"},
    }


async def test_a_bad_parameter_of_the_service_is_told_in_varlink_s_own_words(raw: Raw) -> None:
    await raw.send({"method": f"{SERVICE}.GetInterfaceDescription", "parameters": {"interface": 3}})
    assert await raw.receive() == {
        "error": f"{SERVICE}.InvalidParameter",
        "parameters": {"parameter": "interface"},
    }
