"""The connections of the trio client: lost, kept, shared, and left in the middle of a call."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from lightvm import calls, errors
from lightvm.client import Client, open_client
from lightvm.endpoint import MAX_IDLE
from tests.unit.conftest import StartDaemon
from tests.unit.samples import DOMAIN, EXITED, INFO
from tests.unit.scripted import Peer, answering, parameters


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
    everybody = threading.Barrier(MAX_IDLE + 2)

    def play(peer: Peer) -> None:
        peer.next_call()
        everybody.wait()
        peer.answer(INFO)
        peer.wait_gone()

    daemon = start_daemon(play)
    async with open_client(daemon.path) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_IDLE + 2):
                nursery.start_soon(client.info, "web-1")
        assert len(client._connections._idle) == MAX_IDLE
    assert daemon.connections == MAX_IDLE + 2


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
