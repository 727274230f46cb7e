"""When it pays to look at a new guest instead of waiting for it."""

from __future__ import annotations

import pytest

from lightvm.daemon.spinner import Spinner, fit_spin
from lightvm.testing import FakeHypervisor
from lightvm.xen.hypervisor import Handle


class Guests(FakeHypervisor):
    """Guests that are quick or not."""

    def __init__(self) -> None:
        super().__init__()
        self.quick = False
        self.looks = 0

    def spin_control(self, handle: Handle, microseconds: int) -> int:
        self.looks += 1
        return self.quick


class Nobody:
    """A handle of no domain."""

    domid = console_port = control_port = console_event = control_event = 0


def spin(spinner: Spinner, times: int = 1) -> list[bool]:
    """Spin for some domains, where it pays."""
    return [spinner.pays() and spinner.spin(Nobody()) for _ in range(times)]


def test_quick_guests_are_looked_at_each_time() -> None:
    guests = Guests()
    guests.quick = True
    assert spin(Spinner(guests, 500), 100) == [True] * 100
    assert guests.looks == 100


def test_slow_guests_are_soon_looked_at_no_more_but_now_and_then() -> None:
    guests = Guests()
    assert not any(spin(Spinner(guests, 500), 1000))
    assert Spinner.MISSES < guests.looks <= Spinner.MISSES + 1000 // Spinner.SPARSE + 1


def test_a_guest_that_is_quick_again_is_noticed() -> None:
    guests = Guests()
    spinner = Spinner(guests, 500)
    spin(spinner, 50)
    guests.quick = True
    assert spin(spinner, Spinner.SPARSE + 5)[-5:] == [True] * 5


def test_spinning_can_be_switched_off() -> None:
    guests = Guests()
    assert spin(Spinner(guests, 0)) == [False]
    assert guests.looks == 0


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
