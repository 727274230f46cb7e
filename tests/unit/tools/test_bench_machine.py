"""What a run's machine says of itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from benchmarks import machine

POOLS = """Name               CPUs   Sched     Active   Domain count
Pool-0               1   credit2       y          1
{more}"""


@pytest.fixture
def anew() -> Iterator[None]:
    """Nothing is known of the machine, before and after."""
    machine.guest_pool.cache_clear()
    yield
    machine.guest_pool.cache_clear()


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", "Pool-0"),
        ("guests               1   credit2       y          0\n", "guests"),
        ("guests-of-others     1   credit2       y          0\n", "Pool-0"),
    ],
)
def test_guests_have_a_cpupool_of_their_own_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, more: str, expected: str
) -> None:
    def run(line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert line == ["xl", "cpupool-list"]
        return subprocess.CompletedProcess(line, 0, POOLS.format(more=more), "")

    monkeypatch.setattr(machine.subprocess, "run", run)
    assert machine.guest_pool() == expected
