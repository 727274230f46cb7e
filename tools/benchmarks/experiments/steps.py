"""What the steps of a create take in dom0, over a hypervisor in memory; in a lab that counts instructions, of these."""

from __future__ import annotations

import time

import trio

from benchmarks.in_memory import Meter, measure_in_memory
from benchmarks.record import Record


def measure(record: Record) -> None:
    """Measure them by the clock."""
    trio.run(measure_in_memory, record, Meter(time.perf_counter_ns, "ms", 1e6))
