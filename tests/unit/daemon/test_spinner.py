"""When it pays to look at a new guest instead of waiting for it."""

from __future__ import annotations

import time

import pytest

from lightvm.daemon.spinner import LEAST_US, Spinner, fit_spin
from lightvm.testing import FakeHypervisor
from lightvm.xen.hypervisor import Handle


class Guests(FakeHypervisor):
    """Guests that are quick or not, and how long they were looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.quick = False
        self.looks: list[int] = []

    def spin_control(self, handle: Handle, microseconds: int) -> int:
        self.looks.append(microseconds)
        return time.perf_counter_ns() if self.quick else 0


class Nobody:
    """A handle of no domain."""

    domid = console_port = control_port = console_event = control_event = 0


def spin(spinner: Spinner, times: int = 1) -> list[bool]:
    """Spin for some domains, where it pays."""
    return [spinner.pays() and spinner.spin(Nobody()) > 0 for _ in range(times)]


def test_quick_guests_are_looked_at_each_time() -> None:
    guests = Guests()
    guests.quick = True
    assert spin(Spinner(guests, 500), 100) == [True] * 100
    assert len(guests.looks) == 100


def test_slow_guests_are_soon_looked_at_no_more_but_now_and_then() -> None:
    guests = Guests()
    assert not any(spin(Spinner(guests, 500), 1000))
    assert Spinner.MISSES < len(guests.looks) <= Spinner.MISSES + 1000 // Spinner.SPARSE + 1


def test_a_guest_that_is_quick_again_is_noticed() -> None:
    guests = Guests()
    spinner = Spinner(guests, 500)
    spin(spinner, 50)
    guests.quick = True
    assert spin(spinner, Spinner.SPARSE + 5)[-5:] == [True] * 5


def test_spinning_can_be_switched_off() -> None:
    guests = Guests()
    assert spin(Spinner(guests, 0)) == [False]
    assert not guests.looks


def took(spinner: Spinner, *us: int) -> None:
    """Note guests that were ready after so many microseconds."""
    for each in us:
        spinner.note(quick=True, took_ns=each * 1000)


def test_a_guest_is_looked_at_for_not_much_longer_than_others_took() -> None:
    spinner = Spinner(Guests(), 5000)
    assert spinner.budget == 5000  # nothing is known yet
    took(spinner, *[800] * 100)
    assert spinner.budget == pytest.approx(1600, abs=2)
    took(spinner, *[20] * 100)
    assert spinner.budget == LEAST_US
    took(spinner, *[4000] * 100)
    assert spinner.budget == 5000


def test_one_guest_that_takes_long_changes_little() -> None:
    spinner = Spinner(Guests(), 5000)
    took(spinner, *[800] * 100, 1600)
    assert spinner.budget == pytest.approx(1800, abs=2)


def test_guests_that_have_become_slower_are_looked_at_for_longer() -> None:
    spinner = Spinner(Guests(), 5000)
    took(spinner, *[300] * 100)
    budgets = []
    for _ in range(Spinner.MISSES - 1):
        spinner.note(quick=False)
        budgets.append(spinner.budget)
    assert budgets == pytest.approx([1200, 2400, 4800], abs=8)


def test_how_long_a_guest_takes_is_measured_by_the_look_itself() -> None:
    guests = Guests()
    guests.quick = True
    spin(Spinner(guests, 5000), 100)
    assert guests.looks[0] == 5000
    assert guests.looks[-1] == LEAST_US


def test_quick_guests_of_whom_no_more_is_known_change_nothing() -> None:
    spinner = Spinner(Guests(), 5000)
    spinner.note(quick=True)
    assert spinner.budget == 5000


@pytest.mark.parametrize(
    ("configured", "moment", "fits"),
    [
        (1000, 0.001, 1000),
        (1000, 0.008, 2000),
        (1000, 1.0, 5000),
        (0, 0.02, 0),
        (3000, 0.008, 3000),
    ],
)
def test_on_a_slow_machine_a_look_is_longer(configured: int, moment: float, fits: int) -> None:
    assert fit_spin(configured, moment, 2) == fits


def test_with_one_processor_nobody_looks() -> None:
    assert fit_spin(1000, 0.001, 1) == 0
