"""The native ``lvm`` beside the Python command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lightvm.cli import lvm
from tests.native.replies import Both, unworded
from tests.native_lvm import Done, Installed
from tests.unit.scripted import Play, ScriptedDaemon


@pytest.fixture
def both(
    installed: Installed,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Both:
    """Run a command line over a daemon that plays the same for both programs; return what both did."""
    monkeypatch.setattr("time.localtime", time.gmtime)
    path = tmp_path / "sock"

    def run_python(line: Sequence[str]) -> Done:
        try:
            code = lvm.main(list(line))
        except SystemExit as exc:
            code = int(exc.code or 0)
        return Done(code, *capfd.readouterr())

    def run(
        *words: str, plays: tuple[Play, ...], exact: bool = True, handed: bool = False
    ) -> tuple[Done, list[ScriptedDaemon]]:
        line = (words[0], "--socket", str(path), *words[1:])
        with ScriptedDaemon(path, *plays) as pythons:
            wanted = run_python(line)
        path.unlink()
        with ScriptedDaemon(path, *plays) as ours:
            done = installed.run(*line)
        path.unlink()
        if not exact:
            done, wanted = unworded(done), unworded(wanted)
        assert done == wanted
        assert bool(installed.taken_over()) == handed
        return done, [pythons, ours]

    return run
