"""Many clients at once: nobody keeps the others, or the event loop, from their turn."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest
import trio

from lightvm.daemon.express import Met
from lightvm.model import State
from lightvm.testing import InMemory
from lightvm.xen.express import Answer, Served
from lightvm.xen.express import Crowd as EngineCrowd
from lightvm.xen.fake_domain import FakeDomain
from tests.unit.daemon.express.crowd.crowds import VERSION, Crowd
from tests.unit.daemon.express.quick import decode
from tests.waits import settle, until


class Passes(trio.abc.Instrument):
    """Counts the passes through the event loop."""

    number = 0

    def after_io_wait(self, timeout: float) -> None:
        self.number += 1


@pytest.mark.parametrize("late", [0, 1])
async def test_each_crowd_leaves_the_event_loop_its_turn_and_wakes_nobody(
    lvm: InMemory, crowd: Crowd, words: bytes, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """Else one whose guest was late would not be told before the others are through."""
    passes, served_in, waiting = Passes(), list[int](), list[FakeDomain]()
    answer_all, run = lvm.hypervisor.answer_all, lvm.hypervisor._guests.run
    woken = Counter[int]()
    room = lvm.service.waiting_room
    wake = room.wake

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

    def wake_counted(fd: int) -> bool:
        woken[fd] += 1
        return wake(fd)

    monkeypatch.setattr(lvm.hypervisor, "answer_all", answer_and_have_more_said)
    monkeypatch.setattr(lvm.hypervisor._guests, "run", run_late)
    monkeypatch.setattr(room, "wake", wake_counted)
    trio.lowlevel.add_instrument(passes)
    crowd.ask(words)
    await until(lambda: len(served_in) == 4)
    for domain in waiting:
        run(domain)
    await crowd.hear_all()
    trio.lowlevel.remove_instrument(passes)
    assert max(Counter(served_in).values()) == 1
    assert woken.total() == late


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


async def test_whoever_is_not_alone_leaves_the_event_loop_its_turn_each_time(
    lvm: InMemory, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    met, turns = [], 0

    def meet(peer: socket.socket, *, expected: int) -> Met:
        met.append(peer)
        if len(met) >= 64:
            raise OSError("enough")
        return Met(here=False, alone=False, unsent=b"")

    monkeypatch.setattr(lvm.service.express, "meet", meet)
    crowd.sockets[0].send(VERSION)
    while len(met) < 64:
        await trio.lowlevel.checkpoint()
        turns += 1
    assert turns >= 64


async def test_whoever_is_left_over_from_a_crowd_is_looked_for_once(
    lvm: InMemory, crowd: Crowd, words: bytes
) -> None:
    """Several who are looked for in turn might each find the others for ever."""
    crowd.ask(VERSION)
    for number in range(len(crowd.sockets)):
        assert b"version" in await crowd.hear(number)
    assert lvm.hypervisor.calls["serve"] == 1
    # And once more for the last of them, who is alone then.
    assert lvm.hypervisor.calls["attend"] <= len(crowd.sockets) + 1


async def test_after_a_crowd_whoever_says_anything_else_is_heard_beside_it(
    lvm: InMemory, crowd: Crowd, words: bytes
) -> None:
    crowd.ask(words)
    await crowd.hear_all()
    for number, each in enumerate(crowd.sockets):
        each.send(words if number % 2 else VERSION)
    for number in range(len(crowd.sockets)):
        assert (b"created" if number % 2 else b"version") in await crowd.hear(number)
    crowd.sockets[1].send(VERSION)
    assert b"version" in await crowd.hear(1)


async def test_whoever_was_of_a_crowd_is_let_go_when_the_daemon_stops(
    lvm: InMemory, crowd: Crowd, words: bytes
) -> None:
    crowd.ask(words)
    await crowd.hear_all()
    begun = trio.current_time()
    lvm.service.stop.set()
    for number in range(len(crowd.sockets)):
        assert await crowd.hear(number) == b""
    assert trio.current_time() == begun
