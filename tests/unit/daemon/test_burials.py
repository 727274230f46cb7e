"""When domains that have ended are given back: behind those who end more, within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from lightvm.daemon.burials import AT_ONCE, MOST_DUE, MOST_SECONDS, PAUSE_SECONDS, Burials
from lightvm.daemon.domains import LiveDomain

QUICK = PAUSE_SECONDS / 4


class Graves:
    """Burials, and when each of them began."""

    def __init__(self, background: trio.Nursery) -> None:
        self.burials = Burials(self._bury, background)
        self.begun: list[float] = []
        self.seconds = 0.0
        self._start = trio.current_time()

    async def _bury(self, _: LiveDomain) -> None:
        self.begun.append(trio.current_time() - self._start)
        await trio.sleep(self.seconds)

    def note(self, number: int) -> None:
        domain = SimpleNamespace(record=SimpleNamespace(uuid=str(number)))
        self.burials.note(cast(LiveDomain, domain))

    async def note_each(self, every: float, count: int) -> None:
        for number in range(count):
            self.note(number)
            await trio.sleep(every)


@pytest.fixture
async def graves(autojump_clock: MockClock) -> AsyncIterator[Graves]:
    """Begin burials in the background."""
    async with trio.open_nursery() as nursery:
        graves = Graves(nursery)
        nursery.start_soon(graves.burials.begin_noted)
        yield graves
        nursery.cancel_scope.cancel()


async def test_one_is_begun_after_a_pause(graves: Graves) -> None:
    graves.note(1)
    await trio.sleep(10)
    assert graves.begun == [pytest.approx(PAUSE_SECONDS)]


async def test_more_come_first_that_end_meanwhile(graves: Graves) -> None:
    await graves.note_each(QUICK, 20)
    assert not graves.begun
    await trio.sleep(10)
    assert len(graves.begun) == 20


async def test_those_who_go_on_have_theirs_begun_within_a_second(graves: Graves) -> None:
    await graves.note_each(PAUSE_SECONDS * 0.9, 100)
    assert graves.begun[0] == pytest.approx(MOST_SECONDS)


async def test_many_are_begun_at_once(graves: Graves) -> None:
    for number in range(MOST_DUE):
        graves.note(number)
    await trio.sleep(PAUSE_SECONDS / 2)
    assert len(graves.begun) == MOST_DUE


async def test_nobody_waits_who_needs_what_they_hold(graves: Graves) -> None:
    graves.note(1)
    assert await graves.burials.wait_for_one()
    assert graves.begun == [0]


async def test_the_next_stand_back_again(graves: Graves) -> None:
    graves.note(1)
    await graves.burials.wait_for_one()
    graves.note(2)
    await trio.sleep(PAUSE_SECONDS / 2)
    assert len(graves.begun) == 1


async def test_the_end_waits_for_all_as_long_as_one_is_done_in_time(graves: Graves) -> None:
    graves.seconds = 20
    for number in range(3 * AT_ONCE):
        graves.note(number)
    assert await graves.burials.finish(30) == 0
    assert len(graves.begun) == 3 * AT_ONCE


async def test_the_end_gives_up_when_none_is_done_any_more(graves: Graves) -> None:
    graves.seconds = 20
    for number in range(3 * AT_ONCE):
        graves.note(number)
    assert await graves.burials.finish(10) == 3 * AT_ONCE


async def test_of_many_that_take_long_only_some_are_under_way_at_once(graves: Graves) -> None:
    graves.seconds = 20
    for number in range(3 * AT_ONCE):
        graves.note(number)
    await trio.sleep(100)
    assert graves.begun == pytest.approx(
        [PAUSE_SECONDS + 20 * turn for turn in range(3) for _ in range(AT_ONCE)]
    )
