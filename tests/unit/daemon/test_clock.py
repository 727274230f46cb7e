"""The time of day of a moment."""

from __future__ import annotations

import time

import pytest

from lightvm.client import Client
from lightvm.daemon.clock import ADJUST_SECONDS, WallClock
from lightvm.model import WaitFor
from lightvm.testing import InMemory
from tests.waits import settle


def test_a_moment_has_its_time_of_day() -> None:
    clock = WallClock()
    assert clock.at(time.perf_counter_ns()) == pytest.approx(time.time(), abs=1.0)
    assert clock.at(5_000_000_000) - clock.at(3_000_000_000) == pytest.approx(2.0, abs=1e-6)


def test_after_the_time_of_day_was_set_moments_have_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = WallClock()
    before = clock.at(0)
    now = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr("time.time_ns", lambda: now)
    clock.adjust()
    assert clock.at(0) - before == pytest.approx(3600, abs=60)


async def test_domains_have_the_time_of_day_also_after_it_was_set(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await client.create(lvm.noop, wait=WaitFor.READY)).domain
    assert first.created == pytest.approx(time.time(), abs=60)
    assert first.ready == pytest.approx(time.time(), abs=60)
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr("time.time_ns", lambda: later)
    await settle(2 * ADJUST_SECONDS)
    second = (await client.create(lvm.noop)).domain
    assert second.created - first.created == pytest.approx(3600, abs=60)
