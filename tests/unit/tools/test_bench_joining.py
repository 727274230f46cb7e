"""Runs that are put together: what fits is one run then, and what does not is refused."""

from __future__ import annotations

import pytest
from benchmarks.cli import main
from benchmarks.joining import join_runs
from benchmarks.rows import BadRows, Outcome, Run, read_rows, read_run, write_rows, write_run

from tests.unit.tools.bench_samples import rows

MACHINE = {"emulated": "yes", "project": "abc"}


@pytest.fixture
def make(tmp_path):
    def make(experiment, scale="paper", **machine):
        directory = tmp_path / f"of-{experiment}-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        write_rows(directory / "rows.csv", rows(experiment, "noxs+split", "create", 1.0, 2.0))
        outcomes = [Outcome(experiment=experiment, seconds=3.0, notes=["a note"])]
        write_run(directory, Run(scale=scale, machine={**MACHINE, **machine}, outcomes=outcomes))
        return directory

    return make


def test_runs_become_one(make, tmp_path, capsys):
    storm, create = make("storm"), make("create")
    assert main(["join", str(storm), str(create), "--to", str(tmp_path / "whole")]) == 0
    whole = read_run(tmp_path / "whole")
    assert [each.experiment for each in whole.outcomes] == ["storm", "create"]
    assert whole.machine == {**MACHINE, "runs": "2"}
    assert read_rows(tmp_path / "whole") == [*read_rows(storm), *read_rows(create)]
    assert "not measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("experiment", "scale", "machine", "reason"),
    [
        ("storm", "small", {}, "scale small"),
        ("storm", "paper", {"project": "def"}, "project: 'def'"),
        ("storm", "paper", {"lvm": "native"}, "lvm: 'native'"),
        ("create", "paper", {}, "create is in"),
    ],
)
def test_what_does_not_fit_is_refused(make, tmp_path, experiment, scale, machine, reason):
    one, other = make("create"), make(experiment, scale, **machine)
    with pytest.raises(BadRows, match=reason):
        join_runs([one, other], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
