"""Creates measured in memory: by the processor's counter of instructions, where there is one, and by others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import trio
from benchmarks import counting, in_memory
from benchmarks.in_memory import Meter, measure_in_memory
from benchmarks.record import Budget, Record
from benchmarks.rows import Outcome, read_rows, read_run
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


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure few of each."""
    sizes = {"WARM": 1, "EACH": 3, "OTHERS": 2, "STEPPED": 2, "MANY": 2, "SHELLS": 12}
    for name, size in sizes.items():
        monkeypatch.setattr(in_memory, name, size)


def test_more_work_is_more_instructions(counter: int) -> None:
    def work(times: int) -> int:
        begun = counting.read_counter(counter)
        for _ in range(times):
            pass
        return counting.read_counter(counter) - begun

    assert 0 < work(1_000) < work(100_000)


@pytest.mark.usefixtures("counter", "few")
def test_what_is_counted_is_written_as_a_run(tmp_path: Path) -> None:
    counting.count_in_memory(tmp_path)
    rows = read_rows(tmp_path)
    assert {row.unit for row in rows} == {"instructions"}
    assert all(row.value > 10_000 for row in rows if row.metric != "step")
    assert all(row.value > 1_000 for row in rows if row.metric == "step")
    assert [each.failure for each in read_run(tmp_path).outcomes] == [None]


@pytest.mark.usefixtures("few")
def test_creates_ends_and_steps_are_measured_by_any_meter(tmp_path: Path) -> None:
    readings = count(step=1_000)
    outcome = Outcome(experiment="steps")
    record = Record(tmp_path, outcome, scale="small", budget=Budget(60.0))
    trio.run(measure_in_memory, record, Meter(lambda: next(readings), "kilo", 1_000.0))
    rows = read_rows(tmp_path)
    assert {row.unit for row in rows} == {"kilo"}
    kinds = {row.metric: row.number for row in rows if row.metric != "step"}
    assert kinds == {
        "create": 2,
        "create, not as the one before": 1,
        "destroy": 2,
        "create of many": 0,
    }
    # A create and an end are one reading apart by this meter, whatever they took, and the last is of two creates.
    assert {row.metric: row.value for row in rows if row.metric != "step"} == {
        "create": 1.0,
        "create, not as the one before": 1.0,
        "destroy": 1.0,
        "create of many": 0.5,
    }
    steps = [row.contender for row in rows if row.metric == "step"]
    assert steps == [*STEPS, "the client, and the loop of events"]
