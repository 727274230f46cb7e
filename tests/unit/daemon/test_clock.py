"""The time of day of a moment."""

from __future__ import annotations

import time

import pytest

from lightvm.daemon.clock import WallClock


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
