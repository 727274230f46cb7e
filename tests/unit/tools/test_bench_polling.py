"""A benchmark has idle processors of the machine look for work, and leaves no trace of that."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.polling import POLL_NS, poll_before_halting


def test_processors_look_for_work_and_afterwards_all_is_as_before(tmp_path: Path) -> None:
    parameter = tmp_path / "guest_halt_poll_ns"
    parameter.write_text("200000\n")
    with pytest.raises(KeyboardInterrupt), poll_before_halting(parameter) as polling:
        assert polling
        assert parameter.read_text() == str(POLL_NS)
        raise KeyboardInterrupt
    assert parameter.read_text() == "200000\n"


def test_a_machine_without_that_governor_stays_as_it_is(tmp_path: Path) -> None:
    with poll_before_halting(tmp_path / "none") as polling:
        assert not polling
    assert not list(tmp_path.iterdir())
