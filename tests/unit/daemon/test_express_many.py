"""Many creates that are ready before they are asked for, in one call."""

from __future__ import annotations

import select
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.journal import read_journal
from lightvm.model import Created, CreateRequest, CreateResult, Source, State, WaitFor
from lightvm.testing import InMemory
from lightvm.xen.fake_domain import FakeDomain
from tests.cancel.leftovers import assert_nothing_left
from tests.unit.daemon.raw import call, open_raw
from tests.waits import settle, until


@pytest.fixture
def request_of(lvm: InMemory) -> CreateRequest:
    """What these tests ask for."""
    return CreateRequest(image=lvm.noop, wait=WaitFor.READY, cmdline='say "created":1')


async def make_ready(client: Client, request: CreateRequest) -> None:
    """Ask for some of a kind, and give them back; then the daemon is at rest for a while, and fills its pool."""
    for result in await client.create_many([request] * 3):
        assert result.created is not None
        await client.destroy(result.created.domain.uuid)
    await settle()


def created(results: Sequence[CreateResult]) -> list[Created]:
    """Return what was created, all of it, in its order."""
    assert [result.index for result in results] == list(range(len(results)))
    return [result.created for result in results if result.created is not None]


async def test_those_that_are_ready_are_there_at_once(
    lvm: InMemory, client: Client, request_of: CreateRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_ready(client, request_of)
    pool = lvm.service.pools["tiny"]
    shells = [shell.dashed for shell in reversed(pool.shells)][:3]
    with monkeypatch.context() as patched:
        patched.setattr(lvm.service.creator, "begin", None)
        made = created(await client.create_many([request_of] * 3))
    assert pool.instant == 3
    assert [each.domain.uuid for each in made] == shells
    assert {(each.source, each.domain.state) for each in made} == {(Source.POOL, State.READY)}
    past = read_journal(Path(lvm.service.config.daemon.state_dir) / "journal")
    for each in made:
        seen = await client.info(each.domain.name)
        assert replace(seen, heartbeat=None) == replace(each.domain, heartbeat=None)
        phases = each.phases
        assert phases.ready_us is not None
        assert 0 <= phases.load_us + phases.unpause_us + phases.ready_us <= phases.total_us
        key = each.domain.uuid.replace("-", "")
        assert past.domains[key] == lvm.service.registry.find(each.domain.uuid).record
        await client.destroy(each.domain.uuid)
    await settle()
    await assert_nothing_left(lvm)


async def test_the_reply_is_the_same_as_any_other(
    lvm: InMemory, client: Client, request_of: CreateRequest
) -> None:
    """Joined of those that single creates would get, byte for byte; and it is known where each of them would begin."""
    made = created(await client.create_many([request_of] * 2))
    replies = [wire.encode_reply(calls.CreateReply(created=each)) for each in made]
    results = tuple(CreateResult(index=i, created=each) for i, each in enumerate(made))
    joined, places = wire.join_created(replies)
    assert joined == wire.encode_reply(calls.CreateManyReply(results=results))
    content = slice(len(b'{"parameters":{"created":'), -3)
    for reply, place in zip(replies, places, strict=True):
        assert joined[place:][: len(reply)][content] == reply[content]


async def test_who_asked_is_told_before_the_tables_are_in_order(
    lvm: InMemory, client: Client, request_of: CreateRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_ready(client, request_of)
    told = []
    enter = lvm.service.lifecycle.enter
    async with open_raw(lvm.socket) as raw:

        def look(domain: LiveDomain) -> None:
            readable, _, _ = select.select([raw.stream.socket.fileno()], [], [], 0)
            told.append(bool(readable))
            enter(domain)

        monkeypatch.setattr(lvm.service.lifecycle, "enter", look)
        one = {"image": lvm.noop, "wait": "ready", "cmdline": request_of.cmdline}
        reply = await raw.call("CreateMany", requests=[one, one])
    assert told == [True, True]
    assert len(reply["parameters"]["results"]) == 2


async def test_nobody_is_told_who_does_not_want_to_be(
    lvm: InMemory, client: Client, request_of: CreateRequest
) -> None:
    await make_ready(client, request_of)
    async with open_raw(lvm.socket) as raw:
        one = {"image": lvm.noop, "wait": "ready", "cmdline": request_of.cmdline}
        await raw.send({**call("CreateMany", requests=[one, one]), "oneway": True})
        assert "version" in (await raw.call("Version"))["parameters"]
    assert len(await client.list()) == 2


async def test_who_wants_each_as_it_comes_gets_each(
    lvm: InMemory, client: Client, request_of: CreateRequest
) -> None:
    await make_ready(client, request_of)
    async with client.iter_create_many([request_of] * 3) as replies:
        results = [result async for result in replies]
    assert len(created(results)) == 3
    assert lvm.service.pools["tiny"].instant == 3


async def test_more_than_there_are_shells_are_made_all_the_same(
    lvm: InMemory, client: Client, request_of: CreateRequest
) -> None:
    await make_ready(client, request_of)
    made = created(await client.create_many([request_of] * 7))
    assert [each.source for each in made[:4]] == [Source.POOL] * 4
    assert len({each.domain.uuid for each in made} | {each.domain.name for each in made}) == 14
    assert lvm.service.pools["tiny"].instant == 4


async def test_those_that_differ_are_made_one_by_one(
    lvm: InMemory, client: Client, request_of: CreateRequest
) -> None:
    await make_ready(client, request_of)
    made = created(await client.create_many([request_of, replace(request_of, cmdline="x")]))
    assert [each.domain.cmdline for each in made] == [request_of.cmdline, "x"]
    assert lvm.service.pools["tiny"].instant == 0


@pytest.mark.parametrize("step", ["load", "unpause"])
@pytest.mark.parametrize("after", [0, 1])
async def test_one_that_is_spoilt_is_replaced(
    lvm: InMemory, client: Client, request_of: CreateRequest, step: str, after: int
) -> None:
    await make_ready(client, request_of)
    shell = lvm.service.pools["tiny"].shells[-1 - after]
    lvm.hypervisor.fail(step, after=after)
    made = created(await client.create_many([request_of] * 3))
    assert len(made) == 3
    await settle()
    assert shell.handle.domid not in lvm.hypervisor.domains
    assert {d.uuid for d in await client.list()} == {each.domain.uuid for each in made}
    for each in made:
        await client.destroy(each.domain.uuid)
    await settle()
    await assert_nothing_left(lvm)


async def test_guests_that_are_not_quick_are_waited_for(
    lvm: InMemory, client: Client, request_of: CreateRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_ready(client, request_of)
    guests = lvm.hypervisor._guests
    run = guests.run
    late: list[FakeDomain] = []
    monkeypatch.setattr(guests, "run", late.append)
    results: list[CreateResult] = []

    async def ask() -> None:
        results.extend(await client.create_many([request_of] * 2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await until(lambda: len(late) == 2)
        await settle(1)
        assert not results
        for each in late:
            run(each)
    assert {each.domain.state for each in created(results)} == {State.READY}
