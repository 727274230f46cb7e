"""Programs are at random addresses while they are timed, and only then; what was compiled is removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import programs
from benchmarks.programs import at_random_addresses, spawn


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the kernel's setting: programs are at fixed addresses."""
    file = tmp_path / "randomize_va_space"
    file.write_text("0\n")
    monkeypatch.setattr(programs, "RANDOMIZE", file)
    return file


def test_a_program_is_at_random_addresses_while_it_is_timed(setting: Path) -> None:
    spawn(1, "grep", "-q", "2", setting)
    assert setting.read_text() == "0"
    with pytest.raises(RuntimeError):
        spawn(1, "grep", "-q", "0", setting)
    assert setting.read_text() == "0"


def test_a_machine_where_all_are_is_left_alone(setting: Path) -> None:
    setting.write_text("2\n")
    with at_random_addresses():
        assert setting.read_text() == "2\n"
    assert setting.read_text() == "2\n"


def test_what_an_interpreter_has_compiled_is_removed_at_its_end() -> None:
    code = "from benchmarks.programs import compile_program as made; path = made('spawn'); print(path, path.exists())"
    tools = Path(programs.__file__).parents[1]
    line = subprocess.run(
        [sys.executable, "-c", code], cwd=tools, capture_output=True, text=True, check=True
    ).stdout
    path, existed = line.split()
    assert existed == "True"
    assert not Path(path).parent.exists()
