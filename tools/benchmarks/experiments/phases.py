"""Figure 5: what a create with one vif consists of: by the daemon's own account, and for xl by what it logs, and when.

xl's account begins and ends with its process.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from benchmarks import xl
from benchmarks.daemon import WAYS, open_daemon, pools_for_all_ways, warm_up
from benchmarks.programs import at_random_addresses
from benchmarks.record import Record
from lightvm.model import Phases

WARM = 5
OURS = ("prepare", "load", "journal", "unpause", "ready")
MARKS = (
    ("domain", "do_domain_create"),
    ("build", "domainbuilder:"),
    ("devices and XenStore", "xc_dom_release"),
    ("hotplug script", "calling hotplug script"),
    ("finish", "ao_complete"),
)
"""The phases of xl after its start: each begins with the first line of its log that has this in it."""
Line = tuple[float, str]


def measure(record: Record) -> None:
    """Measure the five toolstacks."""
    n = record.pick(small=5, paper=20)
    pools = pools_for_all_ways(n + WARM)
    with open_daemon(*pools) as daemon:
        daemon.fill(*pools)
        for way in WAYS:
            if not way.cold:
                warm_up(daemon.client, WARM, vif=True, mode=way.mode)
            row = [way.create(daemon.client) for _ in range(n)]
            for created, took in row:  # not in between: to write something down would be a pause
                for metric, ms in split_ours(created.phases, took).items():
                    record.add(way.name, metric, ms)
            record.say(way.name)
        config = xl.write_config("bench-xl", vif=True)
        for _ in range(record.pick(small=1, paper=4)):
            with at_random_addresses():
                logged = log_xl(config)
            for metric, ms in split_xl(*logged).items():
                record.add("xl", metric, ms)
            xl.destroy("bench-xl")


def split_ours(phases: Phases, took_ms: float) -> dict[str, float]:
    """Return what a create of ours consists of, in ms; what lies between daemon and caller is part of the rest."""
    told = {name: (getattr(phases, f"{name}_us") or 0) / 1e3 for name in OURS}
    return {**told, "the rest": took_ms - sum(told.values()), "total": took_ms}


def log_xl(config: str) -> tuple[float, list[Line], float]:
    """Run `xl create` and return when it began, each line of its log with its moment, and when it ended."""
    begun = time.perf_counter()
    with subprocess.Popen(
        ["xl", "-vvv", "create", config],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        lines = [(time.perf_counter(), line) for line in process.stderr]
    if process.returncode:
        raise RuntimeError(f"xl create: status {process.returncode}: {lines[-1:]}")
    return begun, lines, time.perf_counter()


def split_xl(begun: float, lines: Sequence[Line], ended: float) -> dict[str, float]:
    """Return what a create of xl consists of, in ms; a phase that its log does not have belongs to the one before."""
    starts = [("start", begun)]
    for phase, mark in MARKS:
        since = starts[-1][1]
        found = (moment for moment, line in lines if mark in line and moment >= since)
        if (moment := next(found, None)) is not None:
            starts.append((phase, moment))
    ends = [moment for _, moment in starts[1:]] + [ended]
    parts = {phase: (end - start) * 1e3 for (phase, start), end in zip(starts, ends, strict=True)}
    return {**parts, "total": (ended - begun) * 1e3}
