"""Which lab a benchmark is run in."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import cli
from xenlab.lab import Lab


@pytest.mark.parametrize(
    ("line", "preallocated"),
    [
        ("run echo", False),
        ("run echo --scale paper", True),
        ("run echo --scale paper --instructions", False),
        ("paper", True),
        ("compare --revisions A B", False),
    ],
)
def test_a_lab_has_its_memory_from_the_start_at_paper_scale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, preallocated: bool
) -> None:
    opened: list[Lab] = []
    monkeypatch.setattr(Lab, "__enter__", lambda lab: opened.append(lab) or lab)
    monkeypatch.setattr(Lab, "__exit__", lambda *_: None)
    monkeypatch.setattr(Lab, "install", lambda _: None)
    monkeypatch.setattr(cli, "measure_in_lab", lambda *_: None)
    monkeypatch.setattr(cli, "compare_revisions", lambda *_: [])
    options = cli.make_parser().parse_args([*line.split(), "--to", str(tmp_path)])
    options.verb(options)
    assert [lab.shape.preallocated for lab in opened] == [preallocated]
