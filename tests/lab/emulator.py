"""Guests that the emulated processor loses.

Now and then a guest ends in a triple fault that no toolstack has caused: docs/lab.md tells what QEMU does wrong. Guests
of xl end the same way.

A toolstack that starts guests in a wrong state causes the same, and not always each time: so what is run again is said.
"""

from __future__ import annotations

import re
import subprocess

import pytest
from _pytest.runner import runtestprotocol

MOST_RUNS = 3

_LOST = re.compile(r"^\(XEN\) d(\d+)v\d+ Triple fault", re.MULTILINE)


def find_lost(log: str) -> set[int]:
    """Return the domids of lost guests in a log of Xen."""
    return {int(domid) for domid in _LOST.findall(log)}


def read_log() -> str:
    """Return what Xen has logged."""
    return subprocess.run(["xl", "dmesg"], capture_output=True, text=True, check=False).stdout


def run_test(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Run a test; once more where it fails while the emulator loses a guest, and as often as that happens."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for run in range(MOST_RUNS):
        before = find_lost(read_log())
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = any(report.failed for report in reports)
        if not failed or run == MOST_RUNS - 1 or not (lost := find_lost(read_log()) - before):
            break
        print(f"\nthe emulator has lost domain {', '.join(map(str, sorted(lost)))}: once more")
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
