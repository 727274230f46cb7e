"""Measurements on disk: what is written is read, and what is no measurement is refused with its place."""

from __future__ import annotations

import pytest
from benchmarks.record import Budget, Record
from benchmarks.rows import BadRows, Outcome, read_rows, read_run, write_rows, write_run

from tests.unit.tools.bench_samples import rows, run, whole_run


@pytest.fixture
def record(tmp_path):
    outcome = Outcome(experiment="create")
    return Record(tmp_path, outcome, scale="small", budget=Budget(60))


def test_rows_come_back_as_they_were(tmp_path):
    written = whole_run()
    write_rows(tmp_path / "rows.csv", written)
    assert read_rows(tmp_path) == written


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "rows.csv"
    write_rows(path, rows("create", "xl", "create", 1.0, 2.0))
    path.write_text(path.read_text()[:-5])
    assert [row.value for row in read_rows(tmp_path)] == [1.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line"),
        ("a,b\n", "first line"),
        ("experiment,contender,running,metric,number,value,unit\na,b,c\n", "rows.csv:2"),
        ("experiment,contender,running,metric,number,value,unit\na,b,1,c,0,x,ms\n", "'x'"),
    ],
)
def test_other_files_are_refused(tmp_path, text, reason):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(BadRows, match=reason):
        read_rows(tmp_path)


def test_what_a_run_says_of_itself_comes_back(tmp_path):
    write_run(tmp_path, run(storm="it broke"))
    assert read_run(tmp_path) == run(storm="it broke")


def test_a_run_of_another_form_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"scale": "paper"}')
    with pytest.raises(BadRows):
        read_run(tmp_path)


def test_values_are_on_disk_as_soon_as_they_are_recorded_and_numbered_by_kind(record, tmp_path):
    record.add("xl", "create", 1.5, 2.5, running=3)
    record.add("crun, detached", "create", 9.0)
    record.add("xl", "create", 3.5)
    found = [(row.contender, row.running, row.number, row.value) for row in read_rows(tmp_path)]
    assert found == [
        ("xl", 3, 0, 1.5),
        ("xl", 3, 1, 2.5),
        ("crun, detached", 0, 0, 9.0),
        ("xl", 0, 2, 3.5),
    ]


def test_another_experiment_goes_on_in_the_same_file(record, tmp_path):
    record.add("xl", "create", 1.0)
    other = Record(tmp_path, Outcome(experiment="echo"), scale="small", budget=Budget(60))
    other.add("Linux", "round trip", 2.0)
    assert [row.experiment for row in read_rows(tmp_path)] == ["create", "echo"]


def test_a_note_is_part_of_the_outcome(record, capsys):
    record.note("xl: enough for 3")
    assert record.outcome.notes == ["xl: enough for 3"]
    assert "xl: enough for 3" in capsys.readouterr().err


def test_a_budget_is_over_when_nothing_is_left():
    assert not Budget(60).is_over
    assert Budget(0).is_over
    assert Budget(-1).left == 0
    assert Budget(60).part(600).left <= 60
    assert 20 < Budget(60).share(0.5).left <= 30
