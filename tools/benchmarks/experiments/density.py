"""Figure 10: how many there can be, and what one more takes then: unikernels without devices, and containers."""

from __future__ import annotations

import time

from benchmarks.daemon import Daemon, Pool, create_timed, open_daemon, settle_host, timed
from benchmarks.instances import Containers, rise_and_fall
from benchmarks.machine import xl_info
from benchmarks.programs import TRUE, spawn
from benchmarks.record import Budget, Record
from benchmarks.rows import YARDSTICK
from lightvm.errors import LightVMError
from lightvm.model import State, Verdict

MEMORY_KIB = 1024
BATCH = 250
SHARE = 0.85
"""How much of the time the unikernels get, their ends included."""
END_SHARE = 0.25
YIELD_MS = 100
"""How long after the creates of a batch the next one's shells are begun."""
SPAWNED = 3
"""Processes for each batch: what is slower in a full host is not all LightVM's."""
UNIKERNELS = "noop, noxs+split"
DAEMON = "lightvmd"
FINE = (Verdict.OK, Verdict.FOREIGN)


def measure(record: Record) -> None:
    """Measure both."""
    top = record.pick(small=300, paper=8000)
    budget = record.budget.share(SHARE)
    pool = Pool(name="small", shells=BATCH, spare=0, memory_kib=MEMORY_KIB)
    with open_daemon(pool, yield_ms=YIELD_MS) as daemon:
        fill_the_host(record, daemon, pool, top, budget)
    rise_and_fall(record, Containers(), top, record.budget)


def fill_the_host(record: Record, daemon: Daemon, pool: Pool, top: int, budget: Budget) -> None:
    """Create unikernels from the pool, a batch whenever it is full, until there are `top` or the time is over.

    What a batch's shells took is written down beside what its creates took, and what a process takes by then.
    """
    end = budget.share(1 - END_SHARE)
    live = 0
    while live < top and not end.is_over:
        begun = time.perf_counter()
        try:
            shells = daemon.fill_within(pool, end)
        except LightVMError as exc:
            record.note(f"no more than {live} domains: {exc}")
            break
        if shells:
            prepared = (time.perf_counter() - begun) * 1e3 / shells
            record.add(UNIKERNELS, "prepare", prepared, running=live)
        record.add(YARDSTICK, "create", *spawn(SPAWNED, TRUE), running=live)
        for _ in range(min(shells, top - live)):
            _, took = create_timed(daemon.client)
            record.add(UNIKERNELS, "create", took, running=live)
            live += 1
        record.add(DAEMON, "memory", daemon.memory_kib(), unit="KiB", running=live)
        record.say(f"{live} of {top} domains")
    record.add(UNIKERNELS, "live", live, unit="domains", running=live)
    free = float(xl_info()["free_memory"])
    record.add(UNIKERNELS, "free memory", free, unit="MiB", running=live)
    listed = daemon.client.list()
    ready = sum(domain.state is State.READY for domain in listed)
    record.add(UNIKERNELS, "listed as ready", ready, unit="domains", running=live)
    for domain in reversed(listed):
        took = timed(daemon.client.destroy, domain.uuid)
        record.add(UNIKERNELS, "destroy", took, running=live)
        live -= 1
    settle_host()
    left = [each for each in daemon.client.doctor() if each.verdict not in FINE]
    record.add(UNIKERNELS, "left behind", len(left), unit="findings", running=live)
