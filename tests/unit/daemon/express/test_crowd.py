"""Many clients at once, for whom it is ready before they ask: whoever is waited for, all are served."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon import express
from lightvm.daemon.express import Met
from lightvm.daemon.journal import read_journal
from lightvm.model import Created, CreateRequest, ExitReason, State, WaitFor
from lightvm.testing import InMemory
from lightvm.xen.express import Answer, Gathered, Served
from lightvm.xen.express import Crowd as EngineCrowd
from lightvm.xen.fake_domain import FakeDomain
from tests.cancel.leftovers import assert_nothing_left
from tests.unit.daemon.express.quick import decode, serve_one_pool
from tests.waits import settle, until

MANY = 8
SHELLS = 40
VERSION = wire.encode_call(calls.VERSION, calls.Nothing())


class Crowd:
    """Clients that are connected, and quiet."""

    def __init__(self, path: str, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        for each in sockets:
            each.connect(path)
            each.setblocking(False)

    def ask(self, words: bytes) -> None:
        """Have all say the same before anybody is heard."""
        for each in self.sockets:
            each.send(words)

    async def hear(self, which: int) -> bytes:
        """Return what one is told next."""
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(self.sockets[which])
        return self.sockets[which].recv(1 << 20)

    async def hear_all(self) -> list[Created]:
        """Return what each was told."""
        return [decode(await self.hear(which)) for which in range(len(self.sockets))]


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    async with serve_one_pool(tmp_path, shells=SHELLS) as served:
        yield served


@pytest.fixture
async def words(lvm: InMemory, client: Client) -> bytes:
    """A call that there are tickets for, for each shell."""
    request = CreateRequest(image=lvm.noop, wait=WaitFor.READY)
    words = wire.encode_call(calls.CREATE, calls.CreateCall(request=request))
    tickets = lvm.service.express.tickets
    for _ in range(2):
        async with await trio.open_unix_socket(lvm.socket) as stream:
            await stream.send_all(words)
            await client.destroy(decode(await stream.receive_some()).domain.uuid)
    await until(lambda: tickets.count(lvm.service.pools["tiny"]) >= 2 * MANY)
    lvm.hypervisor.calls.clear()
    return words


@pytest.fixture
async def crowd(lvm: InMemory) -> AsyncIterator[Crowd]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(MANY)]
        crowd = Crowd(lvm.socket, sockets)
        crowd.ask(VERSION)
        for which in range(MANY):
            await crowd.hear(which)
        await settle()
        yield crowd


class Other:
    """Somebody who is waited for, and says nothing."""

    def __init__(self, lvm: InMemory) -> None:
        self._express = lvm.service.express
        self.ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        lvm.service.attention.watch(self.peer.fileno())

    def meet(self) -> Met:
        """Let the daemon wait for him, where it was crowded before."""
        self._express._crowded = True
        return self._express.meet(self.peer)


@pytest.fixture
def other(lvm: InMemory) -> Iterator[Other]:
    other = Other(lvm)
    with other.ours, other.peer:
        yield other


@pytest.fixture
def by_the_engine(lvm: InMemory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing be created any other way."""
    with monkeypatch.context() as patched:
        patched.setattr(lvm.service.creator, "begin", None)
        yield


@pytest.mark.usefixtures("by_the_engine")
async def test_all_of_a_crowd_are_served_at_once(
    lvm: InMemory,
    client: Client,
    crowd: Crowd,
    words: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gathered: list[Gathered] = []
    serve = lvm.hypervisor.serve

    def serve_noted(crowd: EngineCrowd) -> Gathered:
        gathered.append(serve(crowd))
        return gathered[-1]

    monkeypatch.setattr(lvm.hypervisor, "serve", serve_noted)
    for _ in range(2):
        crowd.ask(words)
        made = await crowd.hear_all()
        assert {each.domain.state for each in made} == {State.READY}
        assert len({each.domain.uuid for each in made} | {e.domain.name for e in made}) == 2 * MANY
    assert lvm.service.pools["tiny"].instant == 2 * MANY
    # Who was waited for when they came may have been answered by himself.
    served = [len(each.served) for each in gathered if each.served]
    assert len(served) == 2
    assert min(served) >= MANY - 1
    for each in await client.list():
        await client.destroy(each.uuid)
    await settle()
    await assert_nothing_left(lvm)


@pytest.mark.usefixtures("by_the_engine")
async def test_guests_of_a_crowd_that_are_late_are_waited_for(
    lvm: InMemory,
    client: Client,
    crowd: Crowd,
    words: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guests, late = lvm.hypervisor._guests, list[FakeDomain]()
    run = guests.run
    monkeypatch.setattr(guests, "run", late.append)
    crowd.ask(words)
    await until(lambda: len(late) == MANY)
    assert lvm.service.creator.spinner.budget > 0  # it was one pass, or two
    for each in reversed(late):
        run(each)
    made = await crowd.hear_all()
    assert len({each.domain.uuid for each in made}) == MANY
    crowd.sockets[3].send(VERSION)
    assert b"version" in await crowd.hear(3)  # and is at rest again
    assert lvm.hypervisor.calls["serve"] >= 1


class Passes(trio.abc.Instrument):
    """Counts the passes through the event loop."""

    number = 0

    def after_io_wait(self, timeout: float) -> None:
        self.number += 1


@pytest.mark.parametrize(("late", "most"), [(1, 1), (0, 3)])
async def test_those_who_are_woken_together_leave_the_event_loop_its_turn(
    lvm: InMemory,
    crowd: Crowd,
    words: bytes,
    monkeypatch: pytest.MonkeyPatch,
    late: int,
    most: int,
) -> None:
    """Else one whose guest was late would not be told before each of them has served a crowd."""
    passes, served_in, waiting = Passes(), list[int](), list[FakeDomain]()
    answer_all, run = lvm.hypervisor.answer_all, lvm.hypervisor._guests.run

    def answer_and_have_more_said(served: EngineCrowd, each: Sequence[Served]) -> list[Answer]:
        answers = answer_all(served, each)
        served_in.append(passes.number)
        if len(served_in) < 4:
            for one in crowd.sockets:
                with suppress(BlockingIOError):
                    one.recv(1 << 20)
                    one.send(words)
        return answers

    def run_late(domain: FakeDomain) -> None:
        waiting.append(domain) if len(waiting) < late else run(domain)

    monkeypatch.setattr(lvm.hypervisor, "answer_all", answer_and_have_more_said)
    monkeypatch.setattr(lvm.hypervisor._guests, "run", run_late)
    monkeypatch.setattr(express, "MOST_CROWDS", 3)
    trio.lowlevel.add_instrument(passes)
    crowd.ask(words)
    lvm.service.express._crowded = True
    await until(lambda: len(served_in) == 4)
    for domain in waiting:
        run(domain)
    await crowd.hear_all()
    trio.lowlevel.remove_instrument(passes)
    assert max(Counter(served_in).values()) == most


@pytest.mark.parametrize("step", ["load", "unpause"])
@pytest.mark.parametrize("after", [0, 3])
async def test_a_shell_that_is_spoilt_in_a_crowd_is_replaced(
    lvm: InMemory, client: Client, crowd: Crowd, words: bytes, step: str, after: int
) -> None:
    lvm.hypervisor.fail(step, after=after)
    crowd.ask(words)
    made = await crowd.hear_all()
    assert len({each.domain.uuid for each in made}) == MANY
    assert lvm.service.pools["tiny"].discarded == 1
    for each in made:
        await client.destroy(each.domain.uuid)
    await settle()
    await assert_nothing_left(lvm)


async def test_guests_of_a_crowd_that_have_ended_already_are_journalled_after_all_others(
    lvm: InMemory, crowd: Crowd, words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has written the records of all: an end in between would be written over the next of them."""
    guests = lvm.hypervisor._guests

    def run(domain: FakeDomain) -> None:
        guests.ready(domain)
        guests.end(domain, ExitReason.POWEROFF, 0)

    monkeypatch.setattr(guests, "run", run)
    crowd.ask(words)
    await crowd.hear_all()
    assert lvm.hypervisor.calls["serve"] >= 1
    journal = lvm.service.journal
    past = read_journal(Path(lvm.service.config.daemon.state_dir) / "journal")
    assert (past.unreadable, past.domains, past.shells) == (
        0,
        journal.past.domains,
        journal.past.shells,
    )
    assert past.exits == journal.past.exits


async def test_one_whose_task_is_about_to_wake_up_is_told_all_the_same(
    lvm: InMemory, crowd: Crowd, words: bytes, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His call was taken by the time it does; and it may have slept through an answer before."""
    guests = lvm.hypervisor._guests
    run = guests.run
    late: list[FakeDomain] = []
    starter, started = socket.socketpair()
    with starter, started:
        for _ in range(8):  # in any order
            crowd.sockets[0].send(words)
            assert other.meet().served == 1
            assert decode(await crowd.hear(0)).domain.state is State.READY
            with monkeypatch.context() as patched:
                patched.setattr(guests, "run", late.append)
                crowd.sockets[0].send(words)
                starter.send(b"!")
                await trio.lowlevel.wait_readable(started)
                started.recv(1)
                other.meet()
                await until(lambda: late)
            run(late.pop())
            assert decode(await crowd.hear(0)).domain.state is State.READY
            await settle(1)


@pytest.mark.parametrize("by", ["another", "himself"])
async def test_whoever_is_waited_for_nobody_is_served_twice_at_once(
    lvm: InMemory,
    crowd: Crowd,
    words: bytes,
    other: Other,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    """Where it was another, nothing else wakes the task of one whose guest is late: what he has said was read."""
    guests, late = lvm.hypervisor._guests, list[FakeDomain]()
    run = guests.run
    monkeypatch.setattr(guests, "run", late.append)
    crowd.sockets[0].send(words)
    if by == "another":
        assert other.meet().served == 1
    else:
        await until(lambda: late)
    crowd.sockets[0].send(words)
    assert other.meet() == Met(here=False, alone=False)
    await settle(1)
    assert other.meet() == Met(here=False, alone=False)
    for number in range(2):
        run(late[number])
        assert decode(await crowd.hear(0)).domain.state is State.READY
        await until(lambda: len(late) == 2)


async def test_the_wait_for_a_guest_keeps_nobody_else_from_being_quick(
    lvm: InMemory, words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests, late = lvm.hypervisor._guests, list[FakeDomain]()
    run = guests.run
    monkeypatch.setattr(guests, "run", late.append)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(lvm.socket)  # whoever has just connected counts as quick
        caller.send(words)
        await until(lambda: late)
        await settle(1)
        assert lvm.service.attention.claim(late)
        run(late[0])
        await settle(1)
        caller.settimeout(5)
        assert decode(caller.recv(65536)).domain.state is State.READY
        lvm.service.attention.release(late)


async def test_one_whose_last_call_is_not_answered_is_not_served(
    lvm: InMemory, client: Client, crowd: Crowd, words: bytes, other: Other
) -> None:
    target = (await client.create(lvm.noop)).domain.uuid
    wait = calls.WaitCall(domain=target, until=WaitFor.EXITED)
    crowd.sockets[0].send(wire.encode_call(calls.WAIT, wait))
    await settle()
    crowd.sockets[0].send(words)
    assert other.meet() == Met(here=False, alone=False)
    await client.destroy(target)
    told = b""
    while told.count(b"\0") < 2:
        told += await crowd.hear(0)
    assert [b'"phases"' in each for each in told.split(b"\0")] == [False, True, False]


@pytest.mark.parametrize(("served", "least"), [(4, 16), (8, 80)])
async def test_whoever_serves_others_lets_everybody_have_his_turn(
    lvm: InMemory, crowd: Crowd, monkeypatch: pytest.MonkeyPatch, served: int, least: int
) -> None:
    """After eight creates; and more often than that where somebody could go on, such as this task."""
    met, turns = [], 0

    def meet(peer: socket.socket, *, expected: int) -> Met:
        met.append(peer)
        if len(met) >= 64:
            raise OSError("enough")
        return Met(here=False, alone=False, served=served)

    monkeypatch.setattr(lvm.service.express, "meet", meet)
    crowd.sockets[0].send(VERSION)
    while len(met) < 64:
        await trio.lowlevel.checkpoint()
        turns += 1
    assert turns >= least


async def test_whoever_says_anything_else_is_answered_as_ever(
    lvm: InMemory, crowd: Crowd, words: bytes
) -> None:
    for number, each in enumerate(crowd.sockets):
        said = {0: VERSION, 1: words[:20], 2: words + VERSION}.get(number, words)
        each.send(said)
    assert b"version" in await crowd.hear(0)
    told = b""
    while told.count(b"\0") < 2:
        told += await crowd.hear(2)
    assert [b"created" in each for each in told.split(b"\0")] == [True, False, False]
    crowd.sockets[1].send(words[20:])
    made = [decode(await crowd.hear(which)) for which in range(1, MANY) if which != 2]
    assert len({each.domain.uuid for each in made}) == MANY - 2


async def test_who_takes_no_replies_gets_his_later(
    lvm: InMemory, crowd: Crowd, words: bytes
) -> None:
    full = dict.fromkeys(lvm.service.idle, 0)
    for peer in full:
        with pytest.raises(BlockingIOError):
            while True:
                full[peer] += peer.send(bytes(4096))
    crowd.ask(words)
    await settle()
    for which, each in enumerate(crowd.sockets):
        told = b""
        while not told.strip(b"\0"):
            told = (await crowd.hear(which)).lstrip(b"\0")
        while not told.endswith(b"\0"):
            told += await crowd.hear(which)
        assert decode(told).domain.state is State.READY
        each.send(VERSION)
        assert b"version" in await crowd.hear(which)


async def test_who_has_gone_keeps_no_other(
    lvm: InMemory, client: Client, crowd: Crowd, words: bytes
) -> None:
    crowd.ask(words)
    for each in crowd.sockets[::2]:
        each.close()
    for which in range(1, MANY, 2):
        assert decode(await crowd.hear(which)).domain.state is State.READY
    await settle()
    assert len(await client.list()) >= MANY // 2
    for each in await client.list():
        await client.destroy(each.uuid)
    await settle()
    await assert_nothing_left(lvm)
