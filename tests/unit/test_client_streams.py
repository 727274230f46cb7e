"""The streams of the trio client."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from lightvm import calls, errors, wire
from lightvm.client import open_client
from lightvm.model import (
    CreateRequest,
    CreateResult,
    Failure,
)
from tests.unit.conftest import StartDaemon
from tests.unit.samples import CHUNK, CREATED, CREATED_EVENT, DOMAIN, INFO
from tests.unit.scripted import Peer, answering, parameters


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
