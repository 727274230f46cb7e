"""A benchmark has idle processors of the machine look for work, and leaves no trace of that."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.polling import POLL_NS, poll_before_halting


@pytest.fixture
def governor(tmp_path: Path) -> Path:
    """The name of the governor that the machine uses."""
    path = tmp_path / "current_governor"
    path.write_text("haltpoll\n")
    return path


@pytest.fixture
def parameter(tmp_path: Path) -> Path:
    """How long that governor has a processor look for work."""
    path = tmp_path / "guest_halt_poll_ns"
    path.write_text("200000\n")
    return path


def test_processors_look_for_work_and_afterwards_all_is_as_before(
    parameter: Path, governor: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), poll_before_halting(parameter, governor) as polling:
        assert polling
        assert parameter.read_text() == str(POLL_NS)
        raise KeyboardInterrupt
    assert parameter.read_text() == "200000\n"


def test_a_machine_that_has_another_governor_stays_as_it_is(
    parameter: Path, governor: Path
) -> None:
    governor.write_text("menu\n")
    with poll_before_halting(parameter, governor) as polling:
        assert not polling
        assert parameter.read_text() == "200000\n"


def test_a_machine_without_any_stays_as_it_is(parameter: Path, tmp_path: Path) -> None:
    with poll_before_halting(parameter, tmp_path / "none") as polling:
        assert not polling
        assert parameter.read_text() == "200000\n"


def test_a_governor_without_that_parameter_is_left_alone(governor: Path, tmp_path: Path) -> None:
    with poll_before_halting(tmp_path / "none", governor) as polling:
        assert not polling
    assert list(tmp_path.iterdir()) == [governor]
