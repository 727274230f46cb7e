"""Two revisions of the project, measured in turn in one lab."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from xenlab.errors import LabError
from xenlab.lab import Lab
from xenlab.wheels import PROJECT

from benchmarks.comparison import Difference, compare
from benchmarks.rows import Row, read_rows, write_rows
from benchmarks.runner import measure_in_lab

A, B = "a", "b"


def compare_revisions(
    lab: Lab, revisions: tuple[str, str], names: Sequence[str], rounds: int, directory: Path
) -> list[Difference]:
    """Measure both revisions so many times, A B B A A B and so on, so that both see the same host; raises `LabError`.

    The rows of each are then in a directory of its own below `directory`.
    """
    rows: dict[str, list[Row]] = {A: [], B: []}
    with ExitStack() as stack:
        trees = {
            side: stack.enter_context(checked_out(revision))
            for side, revision in zip((A, B), revisions, strict=True)
        }
        for number in range(rounds):
            for side in (A, B) if number % 2 == 0 else (B, A):
                lab.install(trees[side])
                part = directory / side / f"round-{number + 1}"
                measure_in_lab(lab, names, "small", part)
                rows[side] += read_rows(part)
    for side, found in rows.items():
        write_rows(directory / side / "rows.csv", found)
    return compare(rows[A], rows[B])


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """Have a revision of this repository in a directory of its own; raises `no-such-revision`."""
    with tempfile.TemporaryDirectory(prefix="lightvm-revision-") as parent:
        tree = Path(parent) / "tree"
        git = ["git", "-C", str(PROJECT), "worktree"]
        made = subprocess.run(
            [*git, "add", "--detach", str(tree), revision],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise LabError("no-such-revision", made.stderr.strip().replace("\n", "; "))
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], capture_output=True, check=False)
