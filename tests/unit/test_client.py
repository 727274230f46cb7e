"""The trio client against a scripted daemon: calls and replies; connections and streams have files of their own."""

from __future__ import annotations

import pytest

from lightvm import calls, errors, wire
from lightvm.client import open_client
from lightvm.model import (
    CreateRequest,
    CreateResult,
    Finding,
    Flavor,
    Mode,
    Pool,
    Verdict,
    WaitFor,
)
from tests.unit.conftest import StartDaemon
from tests.unit.samples import ADDED, ASKED, CHUNK, CREATED, DOMAIN, EXITED, INFO, VERSION
from tests.unit.scripted import Peer, answering, parameters


async def test_create_sends_what_is_given_and_returns_what_was_made(
    start_daemon: StartDaemon,
) -> None:
    daemon = start_daemon(answering(Create=calls.CreateReply(created=CREATED)))
    async with open_client(daemon.path) as client:
        created = await client.create(
            "/k",
            name="web-1",
            flavor="tiny",
            memory_kib=4096,
            vcpus=1,
            cmdline="quiet",
            modules=["/m"],
            paused=True,
            wait=WaitFor.READY,
            timeout_ms=5,
            token="t",
        )
    assert created == CREATED
    assert parameters(daemon.calls[0]) == {
        "request": {
            "image": "/k",
            "name": "web-1",
            "flavor": "tiny",
            "memory_kib": 4096,
            "vcpus": 1,
            "cmdline": "quiet",
            "modules": ["/m"],
            "paused": True,
            "wait": "ready",
            "timeout_ms": 5,
            "token": "t",
        }
    }


@pytest.mark.parametrize("field", [*ASKED, None])
async def test_all_that_a_create_is_asked_for_is_sent(
    start_daemon: StartDaemon, field: str | None
) -> None:
    asked = ASKED if field is None else {"image": "/k", field: ASKED[field]}
    daemon = start_daemon(answering(Create=calls.CreateReply(created=CREATED)))
    async with open_client(daemon.path) as client:
        await client.create(**asked)
    sent = wire.decode_parameters(daemon.calls[0])
    assert sent == calls.CreateCall(request=CreateRequest(**asked))


async def test_every_plain_verb_calls_its_method(start_daemon: StartDaemon) -> None:
    results = (CreateResult(index=0, created=CREATED),)
    flavor = Flavor(
        name="tiny", memory_kib=4096, vcpus=1, low=2, high=4, networks=(), disks=0, mode=Mode.NOXS
    )
    pool = Pool(
        flavor="tiny",
        shells=4,
        tickets=1,
        low=2,
        high=4,
        hits=1,
        instant=0,
        misses=0,
        prepared=5,
        discarded=0,
    )
    finding = Finding(kind="domain", verdict=Verdict.OK, what="12", detail="web-1")
    daemon = start_daemon(
        answering(
            CreateMany=calls.CreateManyReply(results=results),
            Destroy=calls.DestroyReply(domain=DOMAIN),
            List=calls.ListReply(domains=(DOMAIN, EXITED)),
            Info=INFO,
            Pause=INFO,
            Unpause=INFO,
            Console=CHUNK,
            Wait=calls.DomainReply(domain=EXITED),
            Flavors=calls.FlavorsReply(flavors=(flavor,)),
            PoolStatus=calls.PoolStatusReply(pools=(pool,)),
            AddService=calls.AddServiceReply(),
            RemoveService=calls.RemoveServiceReply(),
            Doctor=calls.DoctorReply(findings=(finding,)),
            Version=VERSION,
        )
    )
    async with open_client(daemon.path) as client:
        assert await client.create_many([CreateRequest(image="/k")]) == results
        assert await client.destroy("web-1", missing_ok=True) == DOMAIN
        assert await client.list(all=True) == (DOMAIN, EXITED)
        assert await client.info("web-1") == DOMAIN
        assert await client.pause("web-1") == DOMAIN
        assert await client.unpause("web-1") == DOMAIN
        assert await client.console_read("web-1", 3) == CHUNK
        assert await client.wait("job", WaitFor.EXITED, timeout_ms=10) == EXITED
        assert await client.flavors() == (flavor,)
        assert await client.pool_status() == (pool,)
        await client.add_service(
            "web", image="/k", network="lan", addresses=["10.0.0.2"], idle_seconds=2.5
        )
        await client.remove_service("web")
        assert await client.doctor() == (finding,)
        assert await client.version() == VERSION
    assert [(c.method.rpartition(".")[2], parameters(c)) for c in daemon.calls] == [
        ("CreateMany", {"requests": [{"image": "/k"}]}),
        ("Destroy", {"domain": "web-1", "missing_ok": True}),
        ("List", {"all": True}),
        ("Info", {"domain": "web-1"}),
        ("Pause", {"domain": "web-1"}),
        ("Unpause", {"domain": "web-1"}),
        ("Console", {"domain": "web-1", "offset": 3}),
        ("Wait", {"domain": "job", "until": "exited", "timeout_ms": 10}),
        ("Flavors", {}),
        ("PoolStatus", {}),
        ("AddService", {"service": ADDED}),
        ("RemoveService", {"name": "web"}),
        ("Doctor", {}),
        ("Version", {}),
    ]
    assert daemon.connections == 1


async def test_error_reply_is_raised_and_the_connection_goes_on(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=errors.NoSuchDomain("who?", "x"), Pause=INFO))
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.NoSuchDomain, match="who"):
            await client.info("x")
        assert await client.pause("web-1") == DOMAIN
    assert daemon.connections == 1


async def test_reply_in_small_pieces_is_put_together(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        for byte in wire.encode_reply(INFO):
            peer.send(bytes([byte]))

    daemon = start_daemon(play)
    async with open_client(daemon.path) as client:
        assert await client.info("web-1") == DOMAIN


async def test_call_larger_than_the_socket_buffer_arrives_whole(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Create=calls.CreateReply(created=CREATED)))
    cmdline = "x" * (2 * 1024 * 1024)
    async with open_client(daemon.path) as client:
        await client.create("/k", cmdline=cmdline)
    assert parameters(daemon.calls[0]) == {"request": {"image": "/k", "cmdline": cmdline}}


async def test_call_longer_than_a_message_may_be_is_refused_here(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.conversation.MAX_MESSAGE_BYTES", 100)
    daemon = start_daemon(answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.BadRequest, match="longer than 100 bytes"):
            await client.create("/k", cmdline="x" * 100)
        assert await client.info("web-1") == DOMAIN
    assert daemon.connections == 1


async def test_text_that_is_not_unicode_is_a_bad_request(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.BadRequest, match="cannot be sent"):
            await client.info("\udcff")
        assert await client.info("web-1") == DOMAIN


@pytest.mark.parametrize("reply", [b"nonsense\0", b"\0", b"{}\0", b'{"parameters":{"domain":1}}\0'])
async def test_malformed_reply_is_a_protocol_error_and_the_next_call_has_a_new_connection(
    start_daemon: StartDaemon, reply: bytes
) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.send(reply)
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.ProtocolError):
            await client.info("web-1")
        assert await client.info("web-1") == DOMAIN
    assert daemon.connections == 2


async def test_over_long_reply_is_a_protocol_error(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.conversation.Framer", lambda: wire.Framer(limit=1000))

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.send(b'"' + b"x" * 1000)
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.ProtocolError, match="longer than 1000 bytes"):
            await client.info("web-1")
        assert await client.info("web-1") == DOMAIN


async def test_second_reply_to_a_plain_call_is_a_protocol_error(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(INFO, continues=True)
        peer.wait_gone()

    daemon = start_daemon(play)
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.ProtocolError, match="more than one reply"):
            await client.info("web-1")


async def test_bytes_after_the_reply_do_not_reach_the_next_call(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.send(wire.encode_reply(INFO) + wire.encode_error(errors.InternalError("stray")))
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client:
        assert await client.info("web-1") == DOMAIN
        assert await client.info("web-1") == DOMAIN
    assert daemon.connections == 2


async def test_environment_names_the_socket(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = start_daemon(answering(Version=VERSION))
    monkeypatch.setenv("LIGHTVM_SOCKET", daemon.path)
    async with open_client() as client:
        assert await client.version() == VERSION
