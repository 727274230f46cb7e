"""How long a benchmark waits for a quiet host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from benchmarks import daemon, record
from benchmarks.daemon import LONGEST_SETTLE_SECONDS, QUIET_SECONDS, QUIET_SHARE, SETTLE_SECONDS

Settle = Callable[..., float]


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Settle:
    """Return a function that settles a host which is loud until then, and returns how long that took."""

    def run(*, loud: float, vif_gone_after: Sequence[float] = ()) -> float:
        now = 0.0

        def share(seconds: float) -> float:
            nonlocal now
            now += seconds
            return 1.0 if now - seconds < loud else QUIET_SHARE

        def devices() -> set[str]:
            return {f"vif{n}" for n, end in enumerate(vif_gone_after) if now < end}

        monkeypatch.setattr(daemon, "dom0_share", share)
        monkeypatch.setattr(daemon, "list_devices", devices)
        monkeypatch.setattr(daemon.subprocess, "run", lambda *_, **__: None)
        monkeypatch.setattr(record, "time", SimpleNamespace(monotonic=lambda: now))
        daemon.settle_host()
        return now

    return run


def test_a_quiet_host_is_looked_at_once(settle: Settle) -> None:
    assert settle(loud=0) == QUIET_SECONDS


def test_a_host_that_becomes_quiet_is_waited_for(settle: Settle) -> None:
    assert 30 <= settle(loud=30) <= 30 + 2 * QUIET_SECONDS


def test_a_host_that_stays_loud_is_given_up(settle: Settle) -> None:
    assert settle(loud=1e9) == SETTLE_SECONDS


def test_as_long_as_vifs_go_it_is_waited_longer(settle: Settle) -> None:
    assert settle(loud=170, vif_gone_after=range(0, 160, 50)) >= 170


def test_but_not_for_ever(settle: Settle) -> None:
    assert settle(loud=1e9, vif_gone_after=range(10_000)) == LONGEST_SETTLE_SECONDS
