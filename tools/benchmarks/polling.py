"""Has this machine look for work for a while before it halts a processor that has none.

A machine that is itself virtual gives a processor back to its host when it halts, and gets it again when that has time:
by then a guest of the lab that was to start at once is some milliseconds late (docs/benchmarks/README.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST = Path("/sys/module/haltpoll/parameters/guest_halt_poll_ns")
"""Of Linux's haltpoll governor (Documentation/virt/guest-halt-polling.rst): how long a processor looks, in ns."""
GOVERNOR = Path("/sys/devices/system/cpu/cpuidle/current_governor")
"""Who decides about idle processors: a kernel may have that governor, and its parameters, without using it."""
POLL_NS = 10_000_000


@contextmanager
def poll_before_halting(parameter: Path = LONGEST, governor: Path = GOVERNOR) -> Iterator[bool]:
    """Have idle processors look for work for 10 ms; at the end it is as it was.

    Yields False, and changes nothing, where the machine does not use that governor or this may not be set.
    """
    try:
        if governor.read_text() != "haltpoll\n":
            yield False
            return
        before = parameter.read_text()
        parameter.write_text(str(POLL_NS))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            parameter.write_text(before)
