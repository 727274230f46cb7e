"""Instructions counted in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import counting
from benchmarks.rows import read_rows, read_run
from benchmarks.steps import STEPS
from xenlab.errors import LabError


@pytest.fixture
def counter() -> Iterator[int]:
    """Count this thread's instructions, where that can be had."""
    try:
        with counting.open_counter() as opened:
            yield opened
    except LabError as exc:
        pytest.skip(str(exc))


def test_more_work_is_more_instructions(counter: int) -> None:
    def work(times: int) -> int:
        begun = counting.read_counter(counter)
        for _ in range(times):
            pass
        return counting.read_counter(counter) - begun

    assert 0 < work(1_000) < work(100_000)


@pytest.mark.usefixtures("counter")
def test_creates_are_counted_and_written_as_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"WARM": 1, "EACH": 3, "OTHERS": 2, "STEPPED": 2, "MANY": 2, "SHELLS": 12}
    for name, size in sizes.items():
        monkeypatch.setattr(counting, name, size)
    counting.count_in_memory(tmp_path)
    rows = read_rows(tmp_path)
    assert {row.unit for row in rows} == {"instructions"}
    kinds = {row.metric: row.number for row in rows if row.metric != "step"}
    assert kinds == {
        "create": 2,
        "create, not as the one before": 1,
        "destroy": 2,
        "create of many": 0,
    }
    assert all(row.value > 10_000 for row in rows if row.metric != "step")
    steps = {row.contender: row.value for row in rows if row.metric == "step"}
    assert len(steps) == len(STEPS) + 1
    assert all(value > 1_000 for value in steps.values())
    assert [each.failure for each in read_run(tmp_path).outcomes] == [None]
