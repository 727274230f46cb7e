"""The memory for what QEMU translates is there before a machine starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from xenlab.translations import HUGE_PAGE, populate_translations

HUGE_PAGES = 4
PROGRAM = f"""
import mmap, sys
size = {HUGE_PAGES + 1} * {HUGE_PAGE}
area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
area.madvise(mmap.MADV_HUGEPAGE)
area[size // 2] = 7
print(flush=True)
sys.stdin.readline()
print(sum(area[:]), flush=True)
"""


@pytest.fixture
def translator() -> Iterator[subprocess.Popen[str]]:
    """A process that has some memory to write to and execute, and has used one page of it."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_all_of_it_is_there_and_as_it_was(translator: subprocess.Popen[str]) -> None:
    before = resident_kib(translator.pid)
    taken = populate_translations(translator.pid)
    assert HUGE_PAGES - 2 <= taken <= HUGE_PAGES  # all that fit, but the one that was there
    assert resident_kib(translator.pid) - before >= taken * 4
    assert populate_translations(translator.pid) == 0
    out, _ = translator.communicate("\n")
    assert out.split() == ["7"]


def resident_kib(pid: int) -> int:
    """Return how much memory of its own the process has, and not merely to ask for."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError("no RssAnon")
