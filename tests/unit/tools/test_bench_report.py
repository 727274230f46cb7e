"""The page of a run, its pictures, and the command line that makes them."""

from __future__ import annotations

import pytest
from benchmarks import figures
from benchmarks.cli import main
from benchmarks.drawing import Clock
from benchmarks.experiments import EXPERIMENTS
from benchmarks.figures import FIGURES, draw_figure
from benchmarks.report import make_clocks, render
from benchmarks.rows import write_rows, write_run

from tests.unit.tools.bench_samples import run, whole_run


def test_emulation_is_said_before_all_else_and_ratios_come_first():
    page = render(whole_run(), run(), [])
    assert page.index("emulated") < page.index("## Targets") < page.index("## Ratios")
    assert page.index("## Ratios") < page.index("## Figures")
    assert "emulated:" not in render(whole_run(), run(emulated="no"), []).partition("## Targets")[0]


def test_failures_and_how_far_it_got_are_not_hidden():
    page = render(whole_run(), run(storm="RuntimeError: the pool ran empty"), [])
    assert "failed, and what they did not get to is missing: storm" in page
    assert "Failed: `RuntimeError: the pool ran empty`" in page
    assert "- xl: the time was enough for 2 of 1000" in page


def test_a_trial_run_says_that_it_is_one():
    assert "A trial run" in render(whole_run(), run(scale="small"), [])
    assert "A trial run" not in render(whole_run(), run(), [])


def test_targets_stand_in_the_page_with_what_was_reached():
    page = render(whole_run(), run(), [])
    assert "| ≤ 0.08 (stretch 0.05) | met, stretch too |" in page
    assert "| 8,000 | ≥ 8,000 | met |" in page


def test_a_run_without_rows_is_a_page_too():
    page = render([], run(), [])
    assert page.count("Not measured in this run.") == len(FIGURES)
    assert "not measured | ≤ 1.10 | unknown" in page


def test_times_are_multiples_only_where_the_machine_is_emulated():
    assert make_clocks(whole_run(), run())["create"].scale(60.0) == 2.0
    assert make_clocks(whole_run(), run(emulated="no"))["create"].scale(60.0) == 60.0


def test_a_figure_has_the_clock_of_its_own_experiment(tmp_path, monkeypatch):
    seen = {}

    def note(figure, rows, clock):
        seen[figure.experiment] = clock.yardstick_ms

    monkeypatch.setattr(figures, "draw_figure", note)
    clocks = {"create": Clock(yardstick_ms=20.0), "density": Clock(yardstick_ms=30.0)}
    assert figures.draw_figures([], tmp_path, clocks, "") == []
    assert seen == {"create": 20.0, "density": 30.0}


@pytest.mark.slow
def test_every_figure_is_drawn_where_there_are_rows_and_none_where_there_are_not():
    clock = Clock(yardstick_ms=30.0)
    for figure in FIGURES:
        assert draw_figure(figure, whole_run(), clock) is not None, figure.name
        assert draw_figure(figure, [], clock) is None, figure.name


@pytest.mark.slow
def test_report_makes_the_page_again_without_a_lab(tmp_path, capsys):
    write_rows(tmp_path / "rows.csv", whole_run()[:30])
    write_run(tmp_path, run())
    assert main(["report", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("overview.*")} == {"overview.png", "overview.svg"}
    assert "](overview.png)" in (tmp_path / "README.md").read_text()
    assert "met, stretch too" in capsys.readouterr().out


def test_compare_prints_ratios_of_two_runs(tmp_path, capsys):
    for side in "ab":
        (tmp_path / side).mkdir()
        write_rows(tmp_path / side / "rows.csv", whole_run())
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "create: noxs+split, create" in capsys.readouterr().out


def test_a_directory_without_a_run_is_an_error_of_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("bench: ")


def test_each_figure_is_of_an_experiment_that_there_is():
    names = {each.name for each in EXPERIMENTS}
    assert {figure.experiment for figure in FIGURES} <= names


def test_the_whole_paper_takes_less_than_75_minutes_and_a_trial_less_than_12():
    assert sum(each.paper_s for each in EXPERIMENTS) < 75 * 60
    assert sum(each.small_s for each in EXPERIMENTS) < 12 * 60
