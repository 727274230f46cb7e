"""Instructions of a create as this machine's processor counts them: user-mode ones of one process, with no lab.

They are the same each time to a fraction of a percent, so that a change of two percent is seen, whatever else the
machine does.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from xenlab.errors import LabError
from xenlab.wheels import PROJECT

from benchmarks.in_memory import Meter, measure_in_memory
from benchmarks.record import Budget, Record
from benchmarks.rows import Outcome, Run, write_run
from benchmarks.runner import describe_revision

SECONDS = 300.0

_PERF_EVENT_OPEN = 298
_HARDWARE, _INSTRUCTIONS = 0, 1
_USER_ONLY = 1 << 5 | 1 << 6  # neither kernel nor hypervisor
_ATTRIBUTES = struct.Struct("=IIQQQQQ80x")


@contextmanager
def open_counter() -> Iterator[int]:
    """Yield a descriptor that reads as this thread's instructions; raises `LabError` where nothing counts them."""
    if platform.machine() != "x86_64":
        raise LabError("no-counter", "instructions are counted on x86-64 only")
    packed = _ATTRIBUTES.pack(_HARDWARE, _ATTRIBUTES.size, _INSTRUCTIONS, 0, 0, 0, _USER_ONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(packed, _ATTRIBUTES.size)
    fd = libc.syscall(_PERF_EVENT_OPEN, attributes, 0, -1, -1, 0)
    if fd < 0:
        reason = os.strerror(ctypes.get_errno())
        raise LabError("no-counter", f"this processor's counters cannot be read here: {reason}")
    try:
        yield fd
    finally:
        os.close(fd)


def read_counter(counter: int) -> int:
    """Return the instructions so far."""
    return int.from_bytes(os.read(counter, 8), "little")


def count_in_memory(directory: Path) -> None:
    """Count, and write what was counted as the files of a run; raises `LabError`."""
    directory.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(experiment="count")
    record = Record(directory, outcome, scale="small", budget=Budget(SECONDS))
    with open_counter() as counter:
        trio.run(measure_in_memory, record, Meter(lambda: read_counter(counter), "instructions"))
    machine = {
        "project": describe_revision(PROJECT),
        "emulated": "no",
        "Python": platform.python_version(),
    }
    write_run(directory, Run(scale="small", machine=machine, outcomes=[outcome]))
