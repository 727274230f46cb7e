"""Two revisions in turn: each from a tree of its own, of which nothing is left."""

from __future__ import annotations

import subprocess

import pytest
from benchmarks import revisions
from benchmarks.cli import make_parser
from benchmarks.revisions import checked_out, compare_revisions
from benchmarks.rows import write_rows
from xenlab.errors import LabError

from tests.unit.tools.bench_samples import rows


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with two revisions, `one` and `two`."""
    root = tmp_path / "project"
    root.mkdir()

    def git(*arguments):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", "-C", root, *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    for name in ("one", "two"):
        (root / "file").write_text(name)
        git("add", "file")
        git("commit", "-q", "-m", name)
        git("tag", name)
    monkeypatch.setattr(revisions, "PROJECT", root)
    return root


def worktrees(root):
    done = subprocess.run(
        ["git", "-C", root, "worktree", "list"], check=True, capture_output=True, text=True
    )
    return len(done.stdout.splitlines())


def test_a_revision_is_there_for_as_long_as_it_is_needed(repository):
    with checked_out("one") as tree:
        assert (tree / "file").read_text() == "one"
    assert not tree.exists()
    assert worktrees(repository) == 1


def test_a_revision_that_there_is_not_is_an_error(repository):
    with pytest.raises(LabError) as caught, checked_out("three"):
        pass
    assert caught.value.code == "no-such-revision"


class FakeLab:
    """Notes what is installed."""

    def __init__(self):
        self.installed = []

    def install(self, tree):
        self.installed.append((tree / "file").read_text())


def test_revisions_take_turns_and_begin_in_turn(repository, tmp_path, monkeypatch):
    lab = FakeLab()

    def measure(lab, names, scale, directory):
        assert (names, scale) == (["create"], "small")
        directory.mkdir(parents=True)
        value = 1.0 if lab.installed[-1] == "one" else 2.0
        write_rows(directory / "rows.csv", rows("create", "noxs", "create", *[value] * 3))

    monkeypatch.setattr(revisions, "measure_in_lab", measure)
    (only,) = compare_revisions(lab, ("one", "two"), ["create"], 3, tmp_path / "results")
    assert lab.installed == ["one", "two", "two", "one", "one", "two"]
    assert only.n == (9, 9)
    assert only.ratio is not None
    assert only.ratio.value == 2.0


def test_an_experiment_that_there_is_not_is_refused(capsys):
    for line in (["run", "sleep"], ["compare", "--revisions", "one", "two", "sleep"]):
        with pytest.raises(SystemExit):
            make_parser().parse_args(line)
        assert "no such experiment: 'sleep'" in capsys.readouterr().err
    assert make_parser().parse_args(["compare", "a", "b"]).experiments == []
