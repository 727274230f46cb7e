"""What a daemon under test has left at its end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from benchmarks import daemon
from benchmarks.daemon import end
from benchmarks.record import LeftBehindError

from lightvm.daemon.journal import GoneRecord, Journal, ShellRecord

UUID = "00112233445566778899aabbccddeeff"


@pytest.fixture
def ended() -> subprocess.Popen[bytes]:
    """A process that ends at once."""
    return subprocess.Popen(["/bin/true"])


def test_a_daemon_that_has_given_all_back_leaves_nothing(
    ended: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(ShellRecord(uuid=UUID, flavor="tiny"))
    journal.append(GoneRecord(uuid=UUID))
    journal.close()
    end(ended, tmp_path / "journal")


def test_a_domain_that_the_journal_still_has_is_left_behind(
    ended: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(ShellRecord(uuid=UUID, flavor="tiny"))
    journal.close()
    with pytest.raises(LeftBehindError, match="left: 1"):
        end(ended, tmp_path / "journal")


def test_a_daemon_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(daemon, "STOP_SECONDS", 0.1)
    with subprocess.Popen(["sleep", "60"]) as process:
        with monkeypatch.context() as deaf, pytest.raises(LeftBehindError, match="not ended"):
            deaf.setattr(process, "terminate", lambda: None)
            end(process, tmp_path / "journal")
        end(process, tmp_path / "journal")  # it is not deaf
