"""What measurements come to: quantiles, comparisons, targets."""

from __future__ import annotations

import random

import pytest
from benchmarks.comparison import bootstrap_ratio, compare, render
from benchmarks.summaries import find_yardsticks, render_summary, summarize
from benchmarks.targets import TARGETS, evaluate

from tests.unit.tools.bench_samples import rows, whole_run


def noisy(middle, n=200, seed=1):
    source = random.Random(seed)
    return [middle * source.lognormvariate(0, 0.02) for _ in range(n)]


def test_quantiles_are_those_of_the_values():
    found = summarize([float(value) for value in range(101)])
    assert (found.n, found.p50, found.p90, found.p99) == (101, 50.0, 90.0, 99.0)


def test_one_value_is_all_its_quantiles():
    assert summarize([7.0]).p99 == 7.0


def test_the_summary_has_times_beside_the_yardstick_and_no_other_unit():
    text = render_summary(whole_run())
    line = next(
        line for line in text.splitlines() if line.startswith("create: noxs+split, create ")
    )
    assert line.endswith("0.050")
    assert text.count("1/s") == 2
    assert next(line for line in text.splitlines() if "1/s" in line).split()[-1] == "1"


def test_an_experiment_without_processes_is_shown_beside_those_of_all_others():
    measured = [
        *rows("create", "fork+exec", "create", 20.0, 20.0),
        *rows("density", "fork+exec", "create", 30.0),
        *rows("storm", "1 client", "create", 2.0),
    ]
    assert find_yardsticks(measured) == {"create": 20.0, "density": 30.0, "storm": 20.0}
    assert find_yardsticks(rows("storm", "1 client", "create", 2.0)) == {}


def test_two_percent_are_seen_through_noise():
    ratio = bootstrap_ratio(noisy(1.02, seed=2), noisy(1.0))
    assert ratio is not None
    assert ratio.is_change
    assert ratio.low < 1.02 < ratio.high


def test_the_same_is_no_change_and_gives_the_same_interval_each_time():
    ratio = bootstrap_ratio(noisy(1.0, seed=2), noisy(1.0))
    assert ratio is not None
    assert not ratio.is_change
    assert bootstrap_ratio(noisy(1.0, seed=2), noisy(1.0)) == ratio


@pytest.mark.parametrize(("of", "to"), [([1.0] * 4, [1.0] * 9), ([1.0] * 9, [0.0] * 9), ([], [])])
def test_too_little_says_nothing(of, to):
    assert bootstrap_ratio(of, to) is None


def test_what_only_one_side_has_is_not_compared():
    a = rows("create", "xl", "create", *noisy(1.0)) + rows("create", "xs", "create", 1.0)
    b = rows("create", "xl", "create", *noisy(2.0)) + rows("create", "xl", "destroy", 1.0)
    (only,) = compare(a, b)
    assert (only.kind.name, only.n) == ("create: xl, create", (200, 200))
    assert only.ratio is not None
    assert 1.9 < only.ratio.value < 2.1
    assert "*" in render([only]).splitlines()[1]


def test_a_comparison_of_few_values_shows_both_without_an_interval():
    text = render(compare(rows("a", "b", "c", 1.0), rows("a", "b", "c", 2.0)))
    assert "too few values" in text


def test_a_run_that_has_all_is_judged_on_every_target():
    verdicts = evaluate(whole_run())
    assert len(verdicts) == len(TARGETS) == 18
    assert {each.met for each in verdicts} == {"met", "met, stretch too"}


def test_a_miss_is_called_one():
    slow = [
        row._replace(value=10 * row.value) if row.contender == "noxs+split" else row
        for row in whole_run()
    ]
    missed = [each.target.measure for each in evaluate(slow) if each.met == "missed"]
    assert any("request to ready" in measure for measure in missed)
    assert any("xl create" in measure for measure in missed)


def test_what_was_not_measured_is_unknown():
    verdicts = evaluate(rows("create", "xl", "create", 1.0))
    assert {(each.value, each.met, each.shown) for each in verdicts} == {
        (None, "unknown", "not measured")
    }


def growing(*late, experiment="growth", contender="noop, noxs+split", guests=1000):
    """Return rows of creates, the first 900 of which take 1 ms, and the others so many."""
    return rows(
        experiment,
        contender,
        "create",
        *(ms for value in late for ms in [1.0] * 900 + [value] * (guests - 900)),
        running=[*range(guests)] * len(late),
    )


def test_growth_is_of_the_last_hundred_of_a_thousand_and_unknown_without_them():
    row = growing(1.2, experiment="toolstacks", contender="noxs+split")
    (verdict,) = (each for each in evaluate(row) if "901" in each.target.measure)
    assert (verdict.value, verdict.met) == (1.2, "missed")
    (verdict,) = (each for each in evaluate(row[:900]) if "901" in each.target.measure)
    assert verdict.met == "unknown"


@pytest.mark.parametrize("late", [(1.2,), (1.2, 9.0, 0.9), (0.8, 1.1, 1.3, 9.0)])
def test_growth_of_several_rows_is_that_of_the_middle_one(late):
    (verdict,) = (each for each in evaluate(growing(*late)) if "rows" in each.target.measure)
    assert verdict.value == pytest.approx(1.2)
    assert verdict.met == "missed"


def test_rows_that_end_before_the_last_hundred_say_nothing_of_growth():
    few = growing(1.2, 1.2, guests=900)
    (verdict,) = (each for each in evaluate(few) if "rows" in each.target.measure)
    assert verdict.met == "unknown"


def test_the_daemon_grows_from_its_first_look_to_the_last():
    (verdict,) = (each for each in evaluate(whole_run()) if "daemon" in each.target.measure)
    assert verdict.value == 4.0
    once = rows("density", "lightvmd", "memory", 41000, unit="KiB", running=250)
    (verdict,) = (each for each in evaluate(once) if "daemon" in each.target.measure)
    assert verdict.met == "unknown"
