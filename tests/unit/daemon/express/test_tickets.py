"""Tickets: for what they are made, when, and when they are not taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon import tickets
from lightvm.daemon.tickets import LONGEST_CALL, MOST_CALLS
from lightvm.model import CreateRequest, DiskRequest, NetRequest, Source, WaitFor
from lightvm.testing import InMemory
from tests.unit.daemon.express.quick import (
    LAN,
    READY,
    Quick,
    ask,
    ask_often,
    encode,
    is_on_offer,
)
from tests.waits import settle


@pytest.mark.parametrize(("without_rest", "made"), [(0, 1), (1, 2)])
async def test_the_shells_that_are_next_are_made_ready_first_and_without_a_rest(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch, without_rest: int, made: int
) -> None:
    monkeypatch.setattr(tickets, "REST", 1e9)
    monkeypatch.setattr(tickets, "FIRST_TICKETS", without_rest)
    await ask_often(lvm, client, CreateRequest(image=lvm.noop, wait=READY))
    await settle()
    shells = lvm.service.pools["tiny"].shells
    assert len(shells) == 2
    (demand,) = lvm.service.express.tickets._demands.values()
    assert demand.tickets.keys() == {shell.uuid for shell in list(shells)[-made:]}
    status = {each.flavor: each.tickets for each in await client.pool_status()}
    assert (status["tiny"], status["net"]) == (made, 0)


async def test_while_somebody_asks_nobody_looks_which_shells_lack_a_ticket(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    looks = []

    async def look(demand: tickets.Demand) -> None:
        looks.append(demand)

    monkeypatch.setattr(lvm.service.express.tickets, "_make_some", look)
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
    words = in_other_words(lvm)
    await ask_often(lvm, client, words)
    for said in (words, encode(CreateRequest(image=lvm.noop, wait=READY))):
        quick.ours.send(said)
        assert lvm.service.express.meet(quick.peer).unsent == b""
        assert quick.hear().source is Source.POOL


def in_other_words(lvm: InMemory, more: bytes = b"") -> bytes:
    """Ask for a domain of the noop image as nobody else does."""
    return b'{"parameters":{"request":{"wait":"ready","image":"%b"}},"method":"%b"%b}\0' % (
        lvm.noop.encode(),
        calls.CREATE.name.encode(),
        more,
    )


@pytest.mark.parametrize("more", [b"", b',"more":true'])
async def test_words_that_are_new_get_what_is_ready_for_others(
    lvm: InMemory, client: Client, more: bytes
) -> None:
    await ask_often(lvm, client, CreateRequest(image=lvm.noop, wait=READY))
    created = await ask(lvm, in_other_words(lvm, more))
    assert (created.source, created.phases.prepare_us) == (Source.POOL, 0)
    assert lvm.hypervisor.calls["carry_out"] == 1
    assert lvm.service.pools["tiny"].instant == 1
    assert [domain.uuid for domain in await client.list()] == [created.domain.uuid]


async def test_words_that_are_new_go_the_usual_way_where_the_shell_is_spoilt(
    lvm: InMemory, client: Client
) -> None:
    await ask_often(lvm, client, CreateRequest(image=lvm.noop, wait=READY))
    lvm.hypervisor.fail("unpause")
    created = await ask(lvm, in_other_words(lvm))
    assert (created.source, lvm.service.pools["tiny"].instant) == (Source.POOL, 0)


async def test_who_does_other_things_is_not_made_offers_until_he_creates_again(
    lvm: InMemory, client: Client
) -> None:
    await ask_often(lvm, client, CreateRequest(image=lvm.noop, wait=READY))
    version = wire.encode_call(calls.VERSION, calls.Nothing())
    create = encode(CreateRequest(image=lvm.noop, wait=READY))
    offers = []
    async with await trio.open_unix_socket(lvm.socket) as stream:
        for words in (*[version] * 6, create, create):
            await stream.send_all(words)
            await stream.receive_some()
            offers.append(lvm.hypervisor.calls["attend"])
    assert offers[0] < offers[2] == offers[5]
    assert lvm.hypervisor.calls["carry_out"] == 1
    assert lvm.service.pools["tiny"].instant == 2


async def test_who_creates_now_and_then_is_made_offers_each_time(
    lvm: InMemory, client: Client
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    version = wire.encode_call(calls.VERSION, calls.Nothing())
    async with await trio.open_unix_socket(lvm.socket) as stream:
        for _ in range(3):
            await settle()
            for words in (version, version, encode(request)):
                await stream.send_all(words)
                await stream.receive_some()
    assert lvm.hypervisor.calls["carry_out"] == 0
    assert lvm.service.pools["tiny"].instant == 3


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
