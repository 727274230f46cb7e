"""Quiet times: what can wait waits for a pause between creates."""

from __future__ import annotations

import pytest
import trio

from lightvm.daemon.quiet import Quiet


async def test_it_is_not_quiet_while_a_request_is_served(autojump_clock: object) -> None:
    quiet = Quiet()
    quiet.begin_request()
    with trio.move_on_after(10) as scope:
        await quiet.wait(0.5)
    assert scope.cancelled_caught
    quiet.end_request()
    begun = trio.current_time()
    await quiet.wait(0.5)
    assert trio.current_time() - begun == pytest.approx(0.5)


async def test_a_request_that_was_served_meanwhile_counts(autojump_clock: object) -> None:
    quiet = Quiet()
    quiet.note_request()
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(quiet.wait, 0.5)
        await trio.sleep(0.4)
        quiet.note_request()
    # Noticed when the wait looks, after half a second.
    assert trio.current_time() - begun == pytest.approx(1.0)


async def test_who_has_less_patience_does_not_wait_for_who_has_more(autojump_clock: object) -> None:
    quiet = Quiet()
    quiet.note_request()
    ends = {}

    async def wait(seconds: float) -> None:
        await quiet.wait(seconds)
        ends[seconds] = trio.current_time()

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, 5.0)
        nursery.start_soon(wait, 0.5)
    assert [ends[s] - begun for s in (0.5, 5.0)] == pytest.approx([0.5, 5.0])
