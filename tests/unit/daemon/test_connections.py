"""Connections that hang up, do not read, or are too many."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import msgspec
import pytest
import trio

from lightvm import calls, wire
from lightvm.client import Client, open_client
from lightvm.daemon import server
from lightvm.daemon.attention import MOST_IN_VAIN, Pace
from lightvm.daemon.express import Met
from lightvm.model import CreateRequest, State
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.unit.daemon.raw import call, open_raw
from tests.waits import settle, until


def serving() -> int:
    """Return how many connections are being served."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    tasks, count = [root], 0
    while tasks:
        task = tasks.pop()
        count += task.name.endswith("serve_connection")
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return count


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Wait", {"until": "exited"}),
        ("Console", {"follow": True}),
        ("Watch", {}),
    ],
)
async def test_a_hang_up_in_a_long_call_ends_it(
    lvm: InMemory, client: Client, name: str, parameters: dict[str, object]
) -> None:
    await client.create(lvm.noop, name="web")
    before = serving()
    if name != "Watch":
        parameters = {"domain": "web", **parameters}
    async with open_raw(lvm.socket) as raw:
        await raw.send(call(name, more=True, **parameters))
        await settle()
        assert serving() == before + 1
    await settle()
    assert serving() == before
    assert not lvm.service.bus.watched


async def test_a_hang_up_while_a_create_waits_for_its_guest_ends_the_wait(
    lvm: InMemory, client: Client
) -> None:
    before = serving()
    async with open_raw(lvm.socket) as raw:
        request = {"image": lvm.misbehave, "name": "web", "cmdline": "loop", "wait": "ready"}
        await raw.send(call("Create", request={**request, "timeout_ms": 24 * 3600 * 1000}))
        await settle()
        assert serving() == before + 1
    await settle()
    assert serving() == before
    assert (await client.info("web")).state is State.RUNNING


async def test_a_long_call_goes_on_for_a_client_that_sends_the_next_one(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    async with open_raw(lvm.socket) as raw:
        await raw.send(call("Wait", domain="web", until="exited"), call("Version"))
        await settle()
        lvm.hypervisor.crash(created.domain.domid)
        reply = await raw.receive()
        assert reply["parameters"]["domain"]["exit"]["reason"] == "crash"
        assert "version" in (await raw.receive())["parameters"]


async def test_a_client_that_does_not_read_is_cut_off(lvm: InMemory, client: Client) -> None:
    await client.create_many([CreateRequest(image=lvm.noop)] * 100)
    before = serving()
    async with open_raw(lvm.socket) as raw:
        await raw.send(*(call("List") for _ in range(200)))
        await settle(server.SEND_SECONDS - 1)
        assert serving() == before + 1
        await settle(2)
        assert serving() == before


async def test_a_watcher_that_does_not_read_is_cut_off(lvm: InMemory, client: Client) -> None:
    before = serving()
    async with open_raw(lvm.socket) as raw:
        await raw.send(call("Watch", more=True))
        await until(lambda: lvm.service.bus.watched)
        await client.create(lvm.noop, name="web")
        for _ in range(1000):
            await client.pause("web")
            await client.unpause("web")
        await settle(server.SEND_SECONDS + 1)
        assert serving() == before
        assert not lvm.service.bus.watched
        received = await raw.wait_closed()
    # What it reads after that is a whole number of replies and a part of one, and nothing after it.
    assert b'"error"' not in received.rpartition(b"\0")[2]


async def test_a_slow_reader_gets_everything(lvm: InMemory, client: Client) -> None:
    await client.create_many([CreateRequest(image=lvm.noop)] * 50)
    async with open_raw(lvm.socket) as raw:
        await raw.send(*(call("List") for _ in range(200)))
        for _ in range(200):
            await trio.sleep(server.SEND_SECONDS / 100)
            assert len((await raw.receive())["parameters"]["domains"]) == 50


async def test_others_are_served_while_one_does_not_read(lvm: InMemory, client: Client) -> None:
    await client.create_many([CreateRequest(image=lvm.noop)] * 50)
    async with open_raw(lvm.socket) as raw:
        await raw.send(*(call("List") for _ in range(1000)))
        begun = trio.current_time()
        await client.version()
        assert trio.current_time() - begun < 1


async def test_a_flood_of_calls_does_not_keep_others_waiting(lvm: InMemory, client: Client) -> None:
    async with open_raw(lvm.socket) as raw, trio.open_nursery() as nursery:
        seen = 0

        async def read() -> None:
            nonlocal seen
            while True:
                await raw.receive()
                seen += 1

        nursery.start_soon(read)
        await raw.send(*(call("Version") for _ in range(500)))
        await client.version()
        assert seen < 100
        nursery.cancel_scope.cancel()


async def test_more_connections_than_allowed_wait_until_one_ends(
    tmp_path: Path, threadless: None
) -> None:
    config = default_config(tmp_path)
    daemon = msgspec.structs.replace(config.daemon, max_connections=2)
    config = msgspec.structs.replace(config, daemon=daemon)
    async with serve_in_memory(tmp_path, config=config) as lvm:
        async with open_raw(lvm.socket) as first, open_raw(lvm.socket) as second:
            await first.call("Version")
            await second.call("Version")
            async with open_raw(lvm.socket) as third:
                await third.send(call("Version"))
                await settle()
                assert serving() == 2
                await first.stream.aclose()
                assert "version" in (await third.receive())["parameters"]


async def test_a_connection_that_is_reset_at_once_harms_nobody(lvm: InMemory) -> None:
    for _ in range(20):
        async with open_raw(lvm.socket) as raw:
            await raw.send(call("Version"))
    async with open_client(lvm.socket) as client:
        await client.version()


class Listener(socket.socket):
    """A listening socket that fails to accept, some times."""

    failures: list[OSError]

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            raise self.failures.pop(0)
        return super().accept()


@pytest.mark.parametrize(
    "failure",
    [
        BlockingIOError(errno.EAGAIN, "somebody else was quicker"),
        ConnectionAbortedError(errno.ECONNABORTED, "gone already"),
        OSError(errno.EMFILE, "too many open files"),
    ],
)
async def test_a_connection_that_cannot_be_accepted_costs_no_slot(
    lvm: InMemory, failure: OSError
) -> None:
    path = str(lvm.images / "second")
    with Listener(socket.AF_UNIX) as listener:
        listener.failures = [failure] * 5
        listener.bind(path)
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.accept_connections, listener, lvm.service, nursery, 1)
            begun = trio.current_time()
            async with open_raw(path) as raw:
                assert "version" in (await raw.call("Version"))["parameters"]
            if failure.errno == errno.EMFILE:  # the descriptors do not come back sooner by asking
                assert trio.current_time() - begun >= 0.3
            nursery.cancel_scope.cancel()
    assert listener.failures == []


@pytest.mark.parametrize(
    ("alone", "waits", "calls"),
    [
        (False, False, server.TURN),
        (True, True, server.LONG_TURN),
        (True, False, server.MOST_TURNS * server.LONG_TURN),
    ],
)
async def test_others_have_their_turn_after_so_many_calls(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch, alone: bool, waits: bool, calls: int
) -> None:
    turns = 0

    async def checkpoint() -> None:
        nonlocal turns
        turns += 1

    with socket.socket(socket.AF_UNIX) as peer:
        connection = server.Connection(peer, lvm.service)
        monkeypatch.setattr(trio.lowlevel, "checkpoint", checkpoint)
        monkeypatch.setattr(server, "could_go_on", lambda: waits)
        for count in range(1, 2 * calls + 1):
            await connection._take_turns(alone=alone)
            assert turns == count // calls
        monkeypatch.undo()


async def test_a_task_that_waits_for_its_turn_and_a_thread_that_is_through_could_go_on() -> None:
    assert not server.could_go_on()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        assert server.could_go_on()
    assert not server.could_go_on()
    trio.lowlevel.current_trio_token().run_sync_soon(int)
    assert server.could_go_on()


@pytest.mark.parametrize("beside", [False, True])
async def test_whether_a_client_is_alone_counts_for_all_that_it_calls(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    heard = []

    async def take_turns(connection: server.Connection, *, alone: bool, calls: int = 1) -> None:
        heard.append(alone)

    monkeypatch.setattr(server.Connection, "_take_turns", take_turns)
    one, other = socket.socketpair()
    with one, other:
        if beside:
            lvm.service.attention.watch(other.fileno())
            one.send(b"something")
        async with open_raw(lvm.socket) as raw:
            for _ in range(2):
                await raw.call("Version")
    assert heard == [not beside] * 2


async def test_a_lone_client_is_read_so_often_before_anybody_is_looked_for(lvm: InMemory) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        connection = server.Connection(theirs, lvm.service)
        connection._alone, connection._others = True, server.MOST_OTHERS
        assert connection._read_unlooked() is None  # it has said nothing
        for _ in range(2):
            for _ in range(server.TURN):
                ours.send(b"call")
                assert connection._read_unlooked() == b"call"
            ours.send(b"call")
            assert connection._read_unlooked() is None
            assert theirs.recv(100) == b"call"
        ours.send(b"call")
        connection._alone = False
        assert connection._read_unlooked() is None
        connection._alone, connection._others = True, 0  # a create may come
        assert connection._read_unlooked() is None


async def test_all_creates_of_a_row_count_for_whose_turn_it_is(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, turns, each = 0, [], 8

    def meet(peer: socket.socket, *, expected: int) -> Met:
        nonlocal rows
        if rows == 12:
            raise OSError("enough")
        rows += 1
        return Met(here=False, alone=True, unsent=b"", before=each - 1)

    async def checkpoint() -> None:
        turns.append(rows)

    monkeypatch.setattr(lvm.service.express, "meet", meet)
    monkeypatch.setattr(server, "could_go_on", lambda: True)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        connection = server.Connection(theirs, lvm.service)
        monkeypatch.setattr(trio.lowlevel, "checkpoint", checkpoint)
        with pytest.raises(OSError, match="enough"):
            await connection.serve()
        monkeypatch.undo()
    assert turns == [4, 8, 12]
    assert 4 * each == server.LONG_TURN


async def test_after_as_many_creates_as_are_expected_others_have_their_turn(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []

    async def checkpoint() -> None:
        turns.append(1)

    monkeypatch.setattr(trio.lowlevel, "checkpoint", checkpoint)
    monkeypatch.setattr(server, "could_go_on", lambda: False)
    with socket.socket(socket.AF_UNIX) as peer:
        connection = server.Connection(peer, lvm.service)
        connection._turn = (server.MOST_EXPECTED - 1) / server.LONG_TURN
        await connection._take_turns(alone=True)
    assert turns == [1]


async def test_the_first_who_calls_when_nobody_else_does_waits_apart(lvm: InMemory) -> None:
    room, clients = lvm.service.waiting_room, lvm.service.express.clients
    version = wire.encode_call(calls.VERSION, calls.Nothing())
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        for each in (one, other):
            each.connect(lvm.socket)
            each.send(version)
            await settle()
        assert [fd in room for fd in clients] == [False, True]
        for each in (other, one):
            each.send(version)
            await settle()
            assert [fd in room for fd in clients] == [False, True]


async def test_whoever_was_served_with_others_was_not_alone(lvm: InMemory) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        connection = server.Connection(theirs, lvm.service)
        connection._alone = connection._pace.quick = True
        connection._take(Met(here=True, alone=False, data=b"call"))
        assert await connection._hear() == b"call"
        assert not connection._alone
        assert not connection._pace.quick


async def test_whoever_makes_several_creates_in_a_row_is_expected_to_be_quick(
    lvm: InMemory,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = server.Connection(theirs, lvm.service)
        pace = connection._pace = Pace(0.0)
        for _ in range(MOST_IN_VAIN + 1):
            pace.start()
            pace.stop()
            assert pace.quick
            connection._note_creates(2)
            pace.miss()
