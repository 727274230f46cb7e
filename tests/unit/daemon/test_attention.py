"""Attention to one client: it is waited for, but not before others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lightvm.daemon.attention import (
    LONGEST_SECONDS,
    MOST_IN_VAIN,
    MOST_LOOKED_AT,
    SHORTEST_SECONDS,
    Attention,
    Pace,
)
from lightvm.testing import InMemory

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def attention() -> Iterator[Attention]:
    opened = Attention()
    yield opened
    opened.close()


@pytest.fixture
def pairs(attention: Attention) -> Iterator[tuple[Pair, Pair]]:
    one, other = socket.socketpair(), socket.socketpair()
    with one[0], one[1], other[0], other[1]:
        attention.watch(one[0].fileno())
        attention.watch(other[0].fileno())
        yield one, other


async def test_a_moment_fits_the_machine(
    attention: Attention, monkeypatch: pytest.MonkeyPatch
) -> None:
    for took, moment in ((1e-5, 0.001), (0.005, 0.005), (3.0, 0.02)):
        moments = iter((100.0, 100.0 + took))
        monkeypatch.setattr("lightvm.daemon.attention._now", lambda moments=moments: next(moments))
        await attention.fit_moment()
        assert attention.moment == pytest.approx(moment)


async def test_a_daemon_fits_its_moment(lvm: InMemory) -> None:
    assert SHORTEST_SECONDS <= lvm.service.attention.moment <= LONGEST_SECONDS


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("theirs", [False, True])
def test_it_tells_whether_this_one_has_something_and_whether_others_have(
    attention: Attention, pairs: tuple[Pair, Pair], ours: bool, theirs: bool
) -> None:
    one, other = pairs
    if ours:
        one[1].send(b"call")
    if theirs:
        other[1].send(b"call")
    here, alone = attention.wait_for(one[0])
    assert here is ours
    if ours:
        assert alone is not theirs


def test_whoever_has_closed_its_end_is_there(
    attention: Attention, pairs: tuple[Pair, Pair]
) -> None:
    one, _ = pairs
    one[1].close()
    assert attention.wait_for(one[0]) == (True, True)


@pytest.mark.parametrize("ours", ["call", "closed", "nothing"])
def test_of_many_each_is_found(attention: Attention, ours: str) -> None:
    """Else several who are looked for in turn may each find the others for ever."""
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(MOST_LOOKED_AT + 1)]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
            pair[0].setblocking(False)
            attention.watch(pair[0].fileno())
        *others, last = pairs
        for _, other in others:
            other.send(b"call")
        if ours == "call":
            last[1].send(b"call")
        elif ours == "closed":
            last[1].close()
        assert attention.wait_for(last[0]) == (ours != "nothing", False)


def never_quick(pace: Pace) -> Pace:
    """Have somebody make one call after each pause, until nothing else is expected."""
    for _ in range(MOST_IN_VAIN):
        pace.hit()
        pace.miss()
        pace.start()
    return pace


@pytest.mark.parametrize(("gap", "quick"), [(0.0, True), (0.009, True), (0.011, False)])
def test_whoever_calls_again_within_a_moment_is_quick(
    gap: float, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = never_quick(Pace(0.01))
    moments = iter((100.0, 100.0 + gap))
    monkeypatch.setattr("lightvm.daemon.attention._now", lambda: next(moments))
    pace.start()
    pace.stop()
    assert pace.quick is quick


def test_whoever_makes_several_calls_after_a_pause_is_expected_to_be_quick() -> None:
    pace = Pace(0.0)
    for _ in range(2 * MOST_IN_VAIN):
        for _ in range(2):
            pace.hit()
        pace.miss()
        pace.start()
        pace.stop()
        assert pace.quick


def test_whoever_makes_one_call_after_a_pause_is_not_after_some() -> None:
    pace = Pace(0.0)
    expected = []
    for _ in range(2 * MOST_IN_VAIN):
        pace.hit()
        pace.miss()
        pace.start()
        pace.stop()
        expected.append(pace.quick)
    assert expected == [True] * (MOST_IN_VAIN - 1) + [False] * (MOST_IN_VAIN + 1)
