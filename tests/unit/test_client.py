"""The trio client against a scripted daemon."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from lightvm import calls, connection, errors, wire
from lightvm.client import Client, open_client
from lightvm.model import (
    CreateRequest,
    CreateResult,
    Event,
    EventKind,
    Failure,
    Finding,
    Flavor,
    Pool,
    Verdict,
    WaitFor,
)
from tests.unit.conftest import StartDaemon
from tests.unit.samples import CHUNK, CREATED, DOMAIN, EXITED, VERSION
from tests.unit.scripted import Peer, answering

INFO = calls.DomainReply(domain=DOMAIN)
CREATED_EVENT = Event(kind=EventKind.CREATED, at=1.0, domain=DOMAIN)


def parameters(call: wire.Call) -> object:
    """Return what a call carried, as plain JSON."""
    return msgspec.json.decode(call.parameters)


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


async def test_every_plain_verb_calls_its_method(start_daemon: StartDaemon) -> None:
    results = (CreateResult(index=0, created=CREATED),)
    flavor = Flavor(name="tiny", memory_kib=4096, vcpus=1, low=2, high=4, networks=(), disks=0)
    pool = Pool(flavor="tiny", shells=4, low=2, high=4, hits=1, misses=0, prepared=5, discarded=0)
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


async def test_daemon_that_closes_in_mid_call_is_a_lost_connection(
    start_daemon: StartDaemon,
) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.send(b'{"parameters":')

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.ConnectionLost):
            await client.info("web-1")
        assert await client.info("web-1") == DOMAIN


async def test_connection_that_is_reset_is_a_lost_connection(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.socket.recv(1)  # what is left unread makes the kernel send a reset

    daemon = start_daemon(play)
    async with open_client(daemon.path) as client:
        with pytest.raises(errors.ConnectionLost):
            await client.info("web-1")


async def test_idle_connection_that_the_daemon_closed_is_replaced(
    start_daemon: StartDaemon,
) -> None:
    closed = threading.Event()

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(INFO)
        peer.socket.close()
        closed.set()

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client:
        await client.info("web-1")
        closed.wait()
        assert await client.info("web-1") == DOMAIN
    assert daemon.connections == 2


async def test_refusal_by_a_daemon_that_closes_at_once_is_raised(start_daemon: StartDaemon) -> None:
    closed = threading.Event()

    def play(peer: Peer) -> None:
        peer.answer(errors.StoppingNow("on its way down"))
        peer.socket.close()
        closed.set()

    daemon = start_daemon(play)
    client = Client(daemon.path)
    fresh = await client._connections.open()
    closed.wait()
    assert await fresh.send(calls.INFO, calls.DomainCall(domain="x")) is False
    with pytest.raises(errors.StoppingNow):
        await fresh.receive(calls.INFO)
    fresh.close()


async def test_cancelled_call_does_not_poison_the_next(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=calls.DomainReply(domain=EXITED)))
    async with open_client(daemon.path) as client:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.info, "web-1")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        assert await client.info("job") == EXITED
    assert daemon.connections == 2


async def test_cancelled_send_does_not_poison_the_next_call(start_daemon: StartDaemon) -> None:
    finish = threading.Event()

    def play(peer: Peer) -> None:
        finish.wait()
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.info, "x" * (4 * 1024 * 1024))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        finish.set()
        assert await client.info("web-1") == DOMAIN
    assert daemon.connections == 2


async def test_call_in_a_cancelled_scope_is_not_sent(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.info("never")
        assert scope.cancelled_caught
        await client.info("web-1")
    assert [parameters(call) for call in daemon.calls] == [{"domain": "web-1"}]


async def test_every_call_is_a_checkpoint(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=INFO))
    async with open_client(daemon.path) as client:
        with trio.testing.assert_checkpoints():
            await client.info("web-1")
        with trio.testing.assert_checkpoints():
            await client.aclose()


async def test_tasks_share_a_client_without_waiting_for_each_other(
    start_daemon: StartDaemon,
) -> None:
    release = threading.Event()

    def slow(peer: Peer) -> None:
        peer.next_call()
        release.wait()
        peer.answer(calls.DomainReply(domain=EXITED))

    daemon = start_daemon(slow, answering(Info=INFO))
    found = []

    async def wait(client: Client) -> None:
        found.append(await client.wait("job"))

    async with open_client(daemon.path) as client, trio.open_nursery() as nursery:
        nursery.start_soon(wait, client)
        await trio.testing.wait_all_tasks_blocked()
        assert await client.info("web-1") == DOMAIN
        assert found == []
        release.set()
    assert found == [EXITED]


async def test_no_more_than_a_few_idle_connections_are_kept(start_daemon: StartDaemon) -> None:
    everybody = threading.Barrier(connection.MAX_IDLE + 2)

    def play(peer: Peer) -> None:
        peer.next_call()
        everybody.wait()
        peer.answer(INFO)
        peer.wait_gone()

    daemon = start_daemon(play)
    async with open_client(daemon.path) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(connection.MAX_IDLE + 2):
                nursery.start_soon(client.info, "web-1")
        assert len(client._connections._idle) == connection.MAX_IDLE
    assert daemon.connections == connection.MAX_IDLE + 2


async def test_closing_the_client_ends_a_call_in_flight(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.wait_gone()

    daemon = start_daemon(play)

    async def call(client: Client) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.info("web-1")

    async with open_client(daemon.path) as client, trio.open_nursery() as nursery:
        nursery.start_soon(call, client)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_closed_client_takes_no_calls(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=INFO))
    async with open_client(daemon.path) as client:
        pass
    with pytest.raises(trio.ClosedResourceError):
        await client.info("web-1")


async def test_watch_is_in_place_when_its_block_is_entered(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(
        answering(Watch=(calls.WatchReply(), calls.WatchReply(event=CREATED_EVENT)))
    )
    async with open_client(daemon.path) as client, client.watch() as events:
        assert daemon.calls[0].more
        assert [event async for event in events] == [CREATED_EVENT]


async def test_stream_that_ended_gives_its_connection_back(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Console=(CHUNK, CHUNK), Info=INFO))
    async with open_client(daemon.path) as client:
        async with client.follow_console("web-1") as chunks:
            assert [chunk.data async for chunk in chunks] == [b"hello\n", b"hello\n"]
        await client.info("web-1")
    assert parameters(daemon.calls[0]) == {"domain": "web-1", "follow": True}
    assert daemon.connections == 1


async def test_stream_that_was_left_early_closes_its_connection(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(CHUNK, continues=True)
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client:
        async with client.follow_console("web-1") as chunks:
            async for chunk in chunks:
                assert chunk == CHUNK
                break
        with pytest.raises(trio.ClosedResourceError):
            await anext(chunks)
        assert await client.info("web-1") == DOMAIN
    assert daemon.connections == 2


async def test_stream_leaves_the_client_free_for_calls(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(calls.WatchReply(), continues=True)
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=INFO))
    async with open_client(daemon.path) as client, client.watch():
        assert await client.info("web-1") == DOMAIN


async def test_create_many_streams_results_and_failures(start_daemon: StartDaemon) -> None:
    first = CreateResult(index=1, created=CREATED)
    rest = (
        CreateResult(index=0, failure=Failure(code="name-taken", message="no")),
        CreateResult(index=2, created=CREATED),
    )
    daemon = start_daemon(
        answering(
            CreateMany=(
                calls.CreateManyReply(results=(first,)),
                calls.CreateManyReply(results=()),
                calls.CreateManyReply(results=rest),
            )
        )
    )
    requests = [CreateRequest(image="/k")] * 3
    async with (
        open_client(daemon.path) as client,
        client.iter_create_many(requests) as results,
    ):
        assert [result async for result in results] == [first, *rest]
    assert daemon.calls[0].more


async def test_error_in_a_stream_is_raised_and_ends_it(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Console=(CHUNK, errors.NoSuchDomain("it is gone")), Info=INFO))
    async with open_client(daemon.path) as client:
        async with client.follow_console("web-1") as chunks:
            assert await anext(chunks) == CHUNK
            with pytest.raises(errors.NoSuchDomain):
                await anext(chunks)
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)
        assert await client.info("web-1") == DOMAIN
    assert daemon.connections == 1


async def test_cancelled_step_of_a_stream_loses_nothing(start_daemon: StartDaemon) -> None:
    go_on = threading.Event()

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(calls.WatchReply(), continues=True)
        go_on.wait()
        peer.answer(calls.WatchReply(event=CREATED_EVENT))

    daemon = start_daemon(play)
    async with open_client(daemon.path) as client, client.watch() as events:
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        go_on.set()
        assert await anext(events) == CREATED_EVENT


async def test_every_step_of_a_stream_is_a_checkpoint(start_daemon: StartDaemon) -> None:
    results = tuple(CreateResult(index=index, created=CREATED) for index in range(2))
    reply = wire.encode_reply(calls.CreateManyReply(results=results), continues=True)
    end = wire.encode_reply(calls.CreateManyReply(results=results[:1]))

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.send(reply + end)
        peer.wait_gone()

    daemon = start_daemon(play)
    async with open_client(daemon.path) as client, client.iter_create_many([]) as stream:
        for _ in range(3):
            with trio.testing.assert_checkpoints():
                await anext(stream)


async def test_opening_raises_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(errors.NoDaemon, match="start lightvmd"):
        async with open_client(tmp_path / "none"):
            raise AssertionError("not reached")


async def test_daemon_with_a_full_queue_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(0)
        first = Client(tmp_path / "sock")
        await first.connect()
        second = Client(tmp_path / "sock")
        with pytest.raises(errors.NoDaemon, match="overloaded"):
            await second.connect()
        listener.accept()[0].close()
        await second.connect()
        await first.aclose()
        await second.aclose()


async def test_environment_names_the_socket(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = start_daemon(answering(Version=VERSION))
    monkeypatch.setenv("LIGHTVM_SOCKET", daemon.path)
    async with open_client() as client:
        assert await client.version() == VERSION
