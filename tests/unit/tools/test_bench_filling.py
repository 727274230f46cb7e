"""How long a benchmark waits for a pool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from benchmarks import daemon, record
from benchmarks.daemon import Daemon, Pool
from benchmarks.record import Budget

from lightvm import model
from lightvm.blocking import Client
from lightvm.errors import LightVMError

POOL = Pool(name="net", shells=3, spare=1)
SLOW = "store-failed: no reply after 10 s"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Growing:
    """A client of a daemon whose pool grows; what fails at some time says so then."""

    def __init__(self, clock: Clock, every: float, *, most: int = 9, error: str = "") -> None:
        self._clock, self._every, self._most, self._error = clock, every, most, error
        self._begun = clock.now

    def pool_status(self) -> Iterator[model.Pool]:
        shells = min(self._most, int((self._clock.now - self._begun) / self._every))
        for flavor, number in (("other", 0), (POOL.name, shells)):
            yield model.Pool(
                flavor=flavor,
                shells=number,
                last_error=self._error or None,
                tickets=0,
                low=1,
                high=POOL.high,
                hits=0,
                instant=0,
                misses=0,
                prepared=number,
                discarded=0,
            )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (daemon, record):
        monkeypatch.setattr(module, "time", clock)
    return clock


def fill(client: Growing, seconds: float) -> int:
    running = Daemon(socket="", client=cast(Client, client), pid=0)
    return running.fill_within(POOL, Budget(seconds))


def test_a_pool_is_waited_for_and_one_shell_is_spare(clock: Clock) -> None:
    assert fill(Growing(clock, 5.0), 1000.0) == 3
    assert clock.now == 1020.0


@pytest.mark.parametrize(("seconds", "shells"), [(0.0, 0), (12.0, 1), (18.0, 2)])
def test_it_is_waited_for_as_long_as_there_is_time(
    clock: Clock, seconds: float, shells: int
) -> None:
    assert fill(Growing(clock, 5.0), seconds) == shells


def test_a_pool_without_an_error_may_take_its_time(clock: Clock) -> None:
    assert fill(Growing(clock, 200.0), 1000.0) == 3


def test_a_pool_that_grows_in_spite_of_errors_is_waited_for(clock: Clock) -> None:
    assert fill(Growing(clock, 50.0, error=SLOW), 1000.0) == 3


def test_one_that_does_not_is_not(clock: Clock) -> None:
    with pytest.raises(LightVMError, match=f"net: {SLOW}"):
        fill(Growing(clock, 5.0, most=2, error=SLOW), 1000.0)
    assert clock.now == 1010.0 + daemon.STALL_SECONDS
