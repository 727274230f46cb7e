"""Many clients at once: nobody keeps the others, or the event loop, from their turn."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest
import trio

from lightvm.daemon import express
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
