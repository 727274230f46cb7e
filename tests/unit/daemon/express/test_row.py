"""One client that creates again and again: each call is heard right after the answer to the one before."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon import attention
from lightvm.daemon.express import MOST_UNLOOKED, Met
from lightvm.daemon.journal import read_journal
from lightvm.daemon.server import MOST_EXPECTED, MOST_OTHERS
from lightvm.model import CreateRequest
from lightvm.testing import InMemory
from lightvm.xen.express import Answer
from tests.unit.daemon.express.quick import (
    READY,
    Quick,
    ask_in_a_row,
    ask_often,
    encode,
    serve_one_pool,
)
from tests.waits import settle

SHELLS = 24
VERSION = wire.encode_call(calls.VERSION, calls.Nothing())


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    async with serve_one_pool(tmp_path, shells=SHELLS) as served:
        yield served


def assert_journal_is_whole(lvm: InMemory) -> None:
    journal = lvm.service.journal
    past = read_journal(Path(lvm.service.config.daemon.state_dir) / "journal")
    assert (past.unreadable, past.domains) == (0, journal.past.domains)
    assert past.exits == journal.past.exits


def before_answers(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch, todo: Mapping[int, Callable[[], object]]
) -> list[Answer]:
    """Have something done right before the first, second, third answer; returns a list that they will be in."""
    answers: list[Answer] = []
    answer = lvm.hypervisor.answer

    def do_and_answer(*args: Any) -> Answer:
        todo.get(len(answers) + 1, lambda: None)()
        answers.append(answer(*args))
        return answers[-1]

    monkeypatch.setattr(lvm.hypervisor, "answer", do_and_answer)
    return answers


@pytest.mark.parametrize("guest", ["noop", "hello"], ids=["stays", "ends"])
async def test_all_that_is_answered_is_entered_and_journalled(
    lvm: InMemory, client: Client, guest: str
) -> None:
    request = CreateRequest(image=str(lvm.images / guest), wait=READY)
    await ask_often(lvm, client, request)
    pool, called = lvm.service.pools["tiny"], lvm.hypervisor.calls
    called.clear()
    number = len(pool.shells)
    made = await ask_in_a_row(lvm, encode(request), number)
    assert pool.instant == number
    if guest == "noop":  # where one ends, its event is heard in between
        assert called["answer"] == number
        assert called["attend"] < number / 2
    assert len({each.domain.uuid for each in made}) == number
    await settle()
    for each in made:
        found = await client.info(each.domain.uuid)
        assert (found.created, found.ready) == (each.domain.created, each.domain.ready)
    assert_journal_is_whole(lvm)


async def test_many_are_expected_of_a_client_but_one_who_makes_other_calls(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "MOST_IN_VAIN", 1000)  # it is met after each of its pauses
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    meet, seen = lvm.service.express.meet, []

    def note(peer: socket.socket, *, expected: int) -> Met:
        seen.append(expected)
        return meet(peer, expected=expected)

    monkeypatch.setattr(lvm.service.express, "meet", note)
    async with await trio.open_unix_socket(lvm.socket) as stream:
        for words in (*[encode(request)] * 3, *[VERSION] * MOST_OTHERS, encode(request)):
            await stream.send_all(words)
            await stream.receive_some()
            await settle()
    assert seen[0] == seen[-1] == MOST_EXPECTED
    assert [now for last, now in pairwise(seen) if last != now] == [0, MOST_EXPECTED]


@pytest.mark.parametrize("expected", [1, 5, SHELLS, MOST_EXPECTED])
async def test_a_row_is_no_longer_than_what_is_expected_or_there_are_tickets_for(
    lvm: InMemory,
    client: Client,
    quick: Quick,
    monkeypatch: pytest.MonkeyPatch,
    expected: int,
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    number = min(expected, len(lvm.service.pools["tiny"].shells))
    ask_again = partial(quick.ours.send, encode(request))
    before_answers(lvm, monkeypatch, dict.fromkeys(range(1, expected + 1), ask_again))
    met = quick.ask(request, expected=expected)
    assert (met.before, met.unsent, met.begun) == (number - 1, b"", None)
    await settle()
    assert_journal_is_whole(lvm)


async def test_others_are_looked_for_after_some_creates_in_a_row(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    ask_again = partial(quick.ours.send, encode(request))
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(lvm.socket)
        await settle()

        def come_in_between() -> None:
            other.sendall(VERSION)
            ask_again()

        before_answers(
            lvm, monkeypatch, {**dict.fromkeys(range(1, SHELLS), ask_again), 2: come_in_between}
        )
        met = quick.ask(request, expected=MOST_EXPECTED)
    assert (met.before, met.unsent) == (MOST_UNLOOKED - 1, b"")


async def test_a_row_ends_however_many_lines_there_are(lvm: InMemory) -> None:
    express = lvm.service.express
    assert express._may_go_on(MOST_EXPECTED - 1, MOST_EXPECTED)
    assert not express._may_go_on(MOST_EXPECTED, MOST_EXPECTED)


async def test_two_calls_that_share_a_line_extend_it_for_both(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    tickets = lvm.service.express.tickets
    other = encode(request).replace(b'"ready"', b' "ready"')
    tickets._demands[other.removesuffix(b"\0")] = next(iter(tickets._demands.values()))
    calls_in_turn = {
        number: partial(quick.ours.send, (encode(request), other)[number % 2])
        for number in range(1, 12)
    }
    before_answers(lvm, monkeypatch, calls_in_turn)
    met = quick.ask(request, expected=12)
    assert (met.before, met.unsent) == (11, b"")
    await settle()
    assert len(await client.list()) == lvm.service.pools["tiny"].instant


async def test_one_that_ends_at_once_is_journalled_behind_the_next(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.hello, wait=READY)
    await ask_often(lvm, client, request)
    ask_again = partial(quick.ours.send, encode(request))
    answers = before_answers(lvm, monkeypatch, {1: ask_again})
    met = quick.ask(request, expected=2)
    assert (met.before, met.alone, met.unsent) == (1, True, b"")
    assert [each.exiting for each in answers] == [True, True]
    await settle()
    assert_journal_is_whole(lvm)


async def test_whoever_comes_in_between_sees_all_that_was_answered(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(5)
        other.connect(lvm.socket)
        await settle()
        ask_for_list = partial(other.sendall, wire.encode_call(calls.LIST, calls.ListCall()))
        before_answers(lvm, monkeypatch, dict.fromkeys((1, 2, 3), ask_for_list))
        for number in range(1, 4):
            (created,) = await ask_in_a_row(lvm, encode(request), 1)
            await settle()
            reply, _ = wire.decode_reply(calls.LIST, other.recv(65536).removesuffix(b"\0"))
            listed = [each.uuid for each in reply.domains]
            assert created.domain.uuid in listed
            assert len(listed) == number


async def test_one_that_fails_among_them_is_carried_out_the_usual_way(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    before_answers(lvm, monkeypatch, {3: partial(lvm.hypervisor.fail, "unpause")})
    made = await ask_in_a_row(lvm, encode(request), 8)
    assert len({each.domain.uuid for each in made}) == 8
    assert lvm.hypervisor.calls["carry_out"] == 1
    await settle()
    assert {each.uuid for each in await client.list()} == {each.domain.uuid for each in made}


async def test_an_image_that_changes_among_them_counts_for_the_next(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    image = Path(lvm.noop)
    change = partial(image.write_bytes, image.read_bytes() + bytes(8))
    before_answers(lvm, monkeypatch, {3: change})
    await ask_in_a_row(lvm, encode(request), 8)
    assert lvm.service.pools["tiny"].instant == 3
