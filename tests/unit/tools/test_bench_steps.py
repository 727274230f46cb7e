"""What each step costs, without the steps inside it and without the counting."""

import contextlib
import importlib
import itertools

from benchmarks.steps import STEPS, Ledger, counted_steps, medians


def test_a_step_is_charged_without_the_steps_inside_it():
    clock = iter([0, 10, 25, 100])  # the outer begins, the inner begins, ends, the outer ends
    ledger = Ledger(lambda: next(clock))
    inner = ledger.wrap("inner", lambda: None)
    ledger.wrap("outer", inner)()
    assert ledger.take() == {"inner": 15, "outer": 85}


def test_counting_itself_is_not_charged():
    clock = itertools.count(step=7)  # each look at the counter costs as much as any other
    ledger = Ledger(lambda: next(clock))
    ledger.calibrate()
    inner = ledger.wrap("inner", lambda: None)
    ledger.wrap("outer", inner)()
    assert ledger.take() == {"inner": 0, "outer": 0}
    assert ledger.cost == 2 * (ledger.inner + ledger.outer)


async def test_a_step_that_fails_is_charged_all_the_same():
    clock = itertools.count()
    ledger = Ledger(lambda: next(clock))

    async def fail():
        raise ValueError

    with contextlib.suppress(ValueError):
        await ledger.wrap("fails", fail)()
    assert ledger.take() == {"fails": 1}


def test_all_functions_of_the_budget_are_there_and_are_themselves_again():
    understanding = importlib.import_module("lightvm.daemon.understanding")
    before = understanding.make_wish
    with counted_steps(lambda: 0):
        assert understanding.make_wish is not before
    assert understanding.make_wish is before


def test_a_step_that_did_not_happen_has_cost_nothing():
    first, *others = STEPS
    shown = medians([{first: 4}, {first: 6}, {first: 5}])
    assert shown[first] == 5
    assert not any(shown[other] for other in others)
