"""Many clients at once, for whom it is ready before they ask: all are served."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon.journal import read_journal
from lightvm.model import ExitReason, State, WaitFor
from lightvm.testing import InMemory
from lightvm.xen.express import Crowd as EngineCrowd
from lightvm.xen.express import Served
from lightvm.xen.fake_domain import FakeDomain
from tests.cancel.leftovers import assert_nothing_left
from tests.unit.daemon.express.crowd.crowds import MANY, VERSION, Crowd
from tests.unit.daemon.express.quick import decode
from tests.waits import settle, until


@pytest.mark.usefixtures("by_the_engine")
async def test_all_of_a_crowd_are_served_at_once(
    lvm: InMemory,
    client: Client,
    crowd: Crowd,
    words: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowds: list[list[Served]] = []
    serve = lvm.hypervisor.serve

    def serve_noted(crowd: EngineCrowd) -> list[Served]:
        crowds.append(serve(crowd))
        return crowds[-1]

    monkeypatch.setattr(lvm.hypervisor, "serve", serve_noted)
    for _ in range(2):
        crowd.ask(words)
        made = await crowd.hear_all()
        assert {each.domain.state for each in made} == {State.READY}
        assert len({each.domain.uuid for each in made} | {e.domain.name for e in made}) == 2 * MANY
    assert lvm.service.pools["tiny"].instant == 2 * MANY
    assert [len(served) for served in crowds] == [MANY, MANY]
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


@pytest.mark.parametrize("by", ["another", "himself"])
async def test_whoever_is_waited_for_nobody_is_served_twice_at_once(
    lvm: InMemory,
    crowd: Crowd,
    words: bytes,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    """Where it was another, nothing else wakes the task of one whose guest is late: what he has said was read."""
    guests, late = lvm.hypervisor._guests, list[FakeDomain]()
    run = guests.run
    monkeypatch.setattr(guests, "run", late.append)
    crowd.sockets[0].send(words)
    if by == "another":
        assert len(lvm.service.express.serve_all()) == 1
    else:
        await until(lambda: late)
    crowd.sockets[0].send(words)
    assert not lvm.service.express.serve_all()
    await settle(1)
    assert not lvm.service.express.serve_all()
    for number in range(2):
        run(late[number])
        assert decode(await crowd.hear(0)).domain.state is State.READY
        await until(lambda: len(late) == 2)


async def test_one_whose_last_call_is_not_answered_is_not_served(
    lvm: InMemory, client: Client, crowd: Crowd, words: bytes
) -> None:
    target = (await client.create(lvm.noop)).domain.uuid
    wait = calls.WaitCall(domain=target, until=WaitFor.EXITED)
    crowd.sockets[0].send(wire.encode_call(calls.WAIT, wait))
    await settle()
    crowd.sockets[0].send(words)
    assert not lvm.service.express.serve_all()
    await client.destroy(target)
    told = b""
    while told.count(b"\0") < 2:
        told += await crowd.hear(0)
    assert [b'"phases"' in each for each in told.split(b"\0")] == [False, True, False]


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
    for fd in lvm.service.express.clients:
        with socket.socket(fileno=os.dup(fd)) as peer, pytest.raises(BlockingIOError):
            while True:
                peer.send(bytes(4096))
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
