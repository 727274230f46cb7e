"""Creates that are ready before they are asked for: what is made ready, who gets it, and what is left of that."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon import express
from lightvm.daemon.express import LONGEST_CALL, MOST_CALLS, Met
from lightvm.daemon.journal import read_journal
from lightvm.model import (
    Created,
    CreateRequest,
    DiskRequest,
    NetRequest,
    Source,
    State,
    WaitFor,
)
from lightvm.testing import InMemory, default_config, serve_in_memory
from lightvm.xen.hypervisor import Handle
from tests.cancel.leftovers import assert_nothing_left
from tests.unit.daemon.samples import with_devices
from tests.waits import settle, until

READY = WaitFor.READY
LAN = NetRequest(network="lan")


class Quick:
    """A client that speaks before it is waited for."""

    def __init__(self, lvm: InMemory) -> None:
        self._lvm = lvm
        self.ours, self.peer = socket.socketpair()
        self.ours.settimeout(1)
        self.peer.setblocking(False)
        lvm.service.attention.watch(self.peer.fileno())

    def ask(self, request: CreateRequest) -> Met:
        """Ask for a create, and let the daemon meet that."""
        self.ours.send(encode(request))
        return self._lvm.service.express.meet(self.peer)

    def hear(self) -> Created:
        """Return what the daemon has answered."""
        return decode(self.ours.recv(65536))


def encode(request: CreateRequest) -> bytes:
    return wire.encode_call(calls.CREATE, calls.CreateCall(request=request))


def decode(reply: bytes) -> Created:
    result, _ = wire.decode_reply(calls.CREATE, reply.removesuffix(b"\0"))
    return result.created


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory with a network, its pools full."""
    config = with_devices(default_config(tmp_path))
    async with serve_in_memory(tmp_path, config=config) as served:
        await until(lambda: not any(pool.filling for pool in served.service.pools))
        yield served


@pytest.fixture
def quick(lvm: InMemory) -> Iterator[Quick]:
    quick = Quick(lvm)
    with quick.ours, quick.peer:
        yield quick


async def ask(lvm: InMemory, words: bytes) -> Created:
    """Ask for a create as anybody does."""
    async with await trio.open_unix_socket(lvm.socket) as stream:
        await stream.send_all(words)
        with trio.fail_after(60):
            return decode(await stream.receive_some())


async def ask_often(lvm: InMemory, client: Client, words: CreateRequest | bytes) -> None:
    """Ask for the same twice, and give it back; then the daemon is at rest for a while."""
    for _ in range(2):
        created = await ask(lvm, words if isinstance(words, bytes) else encode(words))
        await client.destroy(created.domain.uuid)
        await settle()


def is_on_offer(quick: Quick, request: CreateRequest) -> bool:
    """Ask for something; return whether it was carried out without being read."""
    return quick.ask(request).unsent is not None


async def test_what_is_asked_for_often_is_there_at_once(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, nets=(LAN,), wait=READY, cmdline='say "created":1')
    await ask_often(lvm, client, request)
    pool = lvm.service.pools["net"]
    shell, hits = pool.shells[-1], pool.hits
    with monkeypatch.context() as patched:
        patched.setattr(lvm.service.creator, "begin", None)
        assert quick.ask(request) == Met(here=False, alone=True, unsent=b"")
    created = quick.hear()
    domain = created.domain
    assert (created.source, domain.state) == (Source.POOL, State.READY)
    assert (domain.uuid, domain.domid) == (shell.dashed, shell.handle.domid)
    assert (domain.cmdline, domain.vifs) == (request.cmdline, shell.vifs)
    phases = created.phases
    assert phases.ready_us is not None
    assert (
        0
        <= phases.load_us + phases.journal_us + phases.unpause_us + phases.ready_us
        <= phases.total_us
    )
    assert domain.ready is not None
    assert domain.created <= domain.ready
    assert (await client.info(domain.name)) == await client.info(domain.uuid)
    seen = await client.info(domain.name)
    assert (seen.created, seen.ready, seen.vifs) == (domain.created, domain.ready, domain.vifs)
    past = read_journal(Path(lvm.service.config.daemon.state_dir) / "journal")
    assert past.domains[shell.uuid] == lvm.service.registry.find(domain.uuid).record
    assert (pool.hits, pool.instant) == (hits + 1, 1)
    assert shell not in pool.shells
    await client.destroy(domain.uuid)
    await assert_nothing_left(lvm)


async def test_each_time_there_is_another(lvm: InMemory, client: Client, quick: Quick) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    made = []
    for _ in range(2):
        assert is_on_offer(quick, request)
        made.append(quick.hear().domain)
        await settle(0.01)  # its guest has said something
    assert len({d.uuid for d in made} | {d.name for d in made}) == 4
    assert {d.uuid for d in await client.list()} == {d.uuid for d in made}


@pytest.mark.parametrize(("without_rest", "made"), [(0, 1), (1, 2)])
async def test_the_shells_that_are_next_are_made_ready_first_and_without_a_rest(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch, without_rest: int, made: int
) -> None:
    monkeypatch.setattr(express, "REST", 1e9)
    monkeypatch.setattr(express, "FIRST_TICKETS", without_rest)
    await ask_often(lvm, client, CreateRequest(image=lvm.noop, wait=READY))
    await settle()
    shells = lvm.service.pools["tiny"].shells
    assert len(shells) == 2
    (demand,) = lvm.service.express._demands.values()
    assert demand.tickets.keys() == {shell.uuid for shell in list(shells)[-made:]}
    status = {each.flavor: each.tickets for each in await client.pool_status()}
    assert (status["tiny"], status["net"]) == (made, 0)


async def test_while_somebody_asks_nobody_looks_which_shells_lack_a_ticket(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    looks = []

    async def look(demand: express.Demand) -> None:
        looks.append(demand)

    monkeypatch.setattr(lvm.service.express, "_make_some", look)
    assert is_on_offer(quick, request)
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()
    assert not looks
    await settle()
    assert looks


async def test_those_who_say_the_same_in_other_words_share(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    await ask_often(lvm, client, CreateRequest(image=lvm.noop, wait=READY))
    words = b'{"parameters":{"request":{"wait":"ready","image":"%b"}},"method":"%b"}\0' % (
        lvm.noop.encode(),
        calls.CREATE.name.encode(),
    )
    await ask_often(lvm, client, words)
    for said in (words, encode(CreateRequest(image=lvm.noop, wait=READY))):
        quick.ours.send(said)
        assert lvm.service.express.meet(quick.peer).unsent == b""
        assert quick.hear().source is Source.POOL


async def test_who_connects_and_asks_at_once_is_served_at_once(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    monkeypatch.setattr(lvm.service.creator, "begin", None)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(lvm.socket)
        caller.send(encode(request))
        caller.setblocking(False)
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(caller)
        assert decode(caller.recv(65536)).domain.state is State.READY


async def test_who_takes_his_time_is_served_at_once(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    monkeypatch.setattr(lvm.service.creator, "begin", None)
    async with await trio.open_unix_socket(lvm.socket) as stream:
        for _ in range(2):
            await settle(3)
            await stream.send_all(encode(request))
            with trio.fail_after(5):
                assert decode(await stream.receive_some()).domain.state is State.READY


@pytest.mark.parametrize(
    "what",
    [
        {"name": "web"},
        {"token": "t"},
        {"wait": None},
        {"wait": WaitFor.RUNNING},
        {"cold": True},
        {"cpu_weight": 100},
        {"nets": (NetRequest(network="lan", ipv4="10.0.0.5"),)},
        {"nets": (NetRequest(network="lan", mac="0a:00:00:00:00:01"),)},
        {"disks": (DiskRequest(path="DISK"),)},
        {"memory_kib": 8192},
    ],
    ids=lambda what: next(iter(what)),
)
async def test_what_has_to_be_looked_at_is_not_on_offer(
    lvm: InMemory, client: Client, quick: Quick, what: dict[str, object], tmp_path: Path
) -> None:
    if "disks" in what:
        (tmp_path / "disk").write_bytes(bytes(4096))
        what = {"disks": (DiskRequest(path=str(tmp_path / "disk")),)}
    request = replace(CreateRequest(image=lvm.noop, wait=READY), **what)
    await ask_often(lvm, client, request)
    assert lvm.hypervisor.calls["issue"] == 0
    assert not is_on_offer(quick, request)


async def test_what_is_asked_for_once_is_not_made_ready(lvm: InMemory, client: Client) -> None:
    for number in range(6):
        request = CreateRequest(image=lvm.noop, wait=READY, cmdline=str(number))
        await client.destroy((await ask(lvm, encode(request))).domain.uuid)
    await settle()
    assert lvm.hypervisor.calls["issue"] == 0


async def test_a_very_long_call_is_not_remembered(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    words = encode(CreateRequest(image=lvm.noop, wait=READY))
    words = words.replace(b"{", b"{" + b" " * LONGEST_CALL, 1)
    await ask_often(lvm, client, words)
    assert lvm.hypervisor.calls["issue"] == 0


async def test_a_pool_is_ready_for_what_was_asked_of_it_last(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    one, other = (CreateRequest(image=lvm.noop, wait=READY, cmdline=c) for c in ("one", "other"))
    net = CreateRequest(image=lvm.noop, wait=READY, nets=(LAN,))
    for request in (net, one, other):
        await ask_often(lvm, client, request)
    assert not is_on_offer(quick, one)
    assert is_on_offer(quick, other)
    assert quick.hear().domain.cmdline == "other"
    assert is_on_offer(quick, net)


async def test_an_image_that_was_replaced_is_read_again(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    image = Path(lvm.noop)
    image.with_suffix(".new").write_bytes(image.read_bytes())
    os.utime(image.with_suffix(".new"), (1, 1))
    image.with_suffix(".new").rename(image)
    assert not is_on_offer(quick, request)
    await ask_often(lvm, client, request)
    await ask_often(lvm, client, request)
    assert is_on_offer(quick, request)


async def test_addresses_that_another_has_got_meanwhile_are_not_on_offer(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY, nets=(LAN,))
    await ask_often(lvm, client, request)
    (ahead,) = lvm.service.pools["net"].shells[-1].vifs
    assert ahead.ipv4 is not None
    theirs = NetRequest(network="lan", ipv4=ahead.ipv4.partition("/")[0])
    other = await client.create(lvm.noop, nets=[theirs], cold=True)
    assert other.domain.vifs[0].ipv4 == ahead.ipv4
    assert not is_on_offer(quick, request)


async def test_a_guest_that_is_not_quick_is_waited_for(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    guests, late = lvm.hypervisor._guests, []
    run = guests.run
    monkeypatch.setattr(guests, "run", late.append)
    monkeypatch.setattr(lvm.service.creator, "begin", None)
    answers = []

    async def call() -> None:
        answers.append(await ask(lvm, encode(request)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await until(lambda: late)
        await settle(1)
        (domain,) = await client.list()
        assert (domain.state, answers) == (State.RUNNING, [])
        time.sleep(0.02)  # noqa: ASYNC251 (the clock of the daemon, not that of the loop)
        run(late[0])
    assert answers[0].domain.uuid == domain.uuid
    assert answers[0].domain.state is State.READY
    assert answers[0].phases.ready_us >= 20_000
    assert answers[0].phases.total_us >= 20_000


async def test_the_event_of_a_guest_that_was_heard_by_it_is_nobody_else(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls next would not count as alone, and a late guest of his would not be waited for."""
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    guests, spinner = lvm.hypervisor._guests, lvm.service.creator.spinner
    run, spin, late = guests.run, lvm.hypervisor.spin_control, []

    def look(handle: Handle, microseconds: int) -> int:
        heard = spin(handle, microseconds)
        if late:
            run(late.pop())  # after the first look
        return heard

    monkeypatch.setattr(guests, "run", late.append)
    monkeypatch.setattr(lvm.hypervisor, "spin_control", look)
    monkeypatch.setattr(spinner, "microseconds", 0)
    for _ in range(2):
        assert quick.ask(request) == Met(here=False, alone=True, unsent=b"")
        assert quick.hear().domain.state is State.READY


@pytest.mark.parametrize("step", ["load", "unpause"])
async def test_a_shell_that_is_spoilt_is_replaced(
    lvm: InMemory, client: Client, quick: Quick, step: str
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY, nets=(LAN,))
    await ask_often(lvm, client, request)
    shell = lvm.service.pools["net"].shells[-1]
    lvm.hypervisor.fail(step)
    met = quick.ask(request)
    assert (met.here, met.data) == (True, encode(request))
    await settle()
    assert shell.handle.domid not in lvm.hypervisor.domains
    assert shell.uuid not in lvm.service.journal.past.domains
    assert not await client.list()
    await assert_nothing_left(lvm)


async def test_a_reply_that_finds_no_room_is_sent_later(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    with pytest.raises(BlockingIOError):
        while True:
            quick.peer.send(bytes(4096))
    unsent = quick.ask(request).unsent
    assert unsent
    assert [d.uuid for d in await client.list()] == [decode(unsent).domain.uuid]


async def test_a_name_that_somebody_has_taken_is_not_used(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    assert is_on_offer(quick, request)
    last = int(quick.hear().domain.name.removeprefix("vm-"), 16)
    for step in range(1, 6):
        await client.create(lvm.noop, name=f"vm-{last + step:010x}", cold=True)
    assert not is_on_offer(quick, request)


async def test_only_so_many_calls_are_compared_with(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    for number in range(MOST_CALLS + 2):
        words = encode(CreateRequest(image=lvm.noop, wait=READY))
        words = words.replace(b"{", b"{" + b" " * number, 1)
        await ask_often(lvm, client, words)
    assert not is_on_offer(quick, CreateRequest(image=lvm.noop, wait=READY))
    quick.ours.send(words)
    assert lvm.service.express.meet(quick.peer).unsent == b""


async def test_a_guest_that_ends_is_seen(lvm: InMemory, client: Client, quick: Quick) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    assert is_on_offer(quick, request)
    domain = quick.hear().domain
    lvm.hypervisor.crash(domain.domid)
    assert (await client.wait(domain.uuid, WaitFor.EXITED)).exit is not None


async def test_who_watches_is_told_of_all_of_it(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    heard: list[str] = []

    async def listen(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with client.watch() as events:
            task_status.started()
            async for event in events:
                heard.append(event.kind.value)

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        await settle()
        assert is_on_offer(quick, request)
        await until(lambda: len(heard) >= 2)
        nursery.cancel_scope.cancel()
    assert heard[:2] == ["created", "ready"]
