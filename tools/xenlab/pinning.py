"""Gives each processor of a lab one of the host's own, as a benchmark needs it.

A host that is free to choose may have both threads of a lab on one of its processors after a pause of some seconds,
and a guest then waits behind dom0 for some milliseconds until they are moved apart (docs/benchmarks/README.md).
QEMU's main thread, which rings the processors' timers, does not wait behind them either.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from .errors import LabError
from .qmp import Qmp


def pin_processors(qmp: Qmp) -> bool:
    """Let each thread that runs a processor of the lab run on one of the host's only, none on that of another.

    Where this may be done, the main thread comes before them.

    Returns False, and changes nothing, where the host has fewer than the lab. Raises `LabError` where QEMU does not
    say which threads they are.
    """
    threads = processor_threads(qmp)
    allowed = sorted(os.sched_getaffinity(0))
    if len(threads) > len(allowed):
        return False
    for thread, processor in zip(threads, allowed, strict=False):
        os.sched_setaffinity(thread, {processor})
    main = qmp.peer()
    if main is not None:
        with suppress(PermissionError):
            os.sched_setscheduler(main.pid, os.SCHED_FIFO, os.sched_param(1))
    return True


def processor_threads(qmp: Qmp) -> list[int]:
    """Return the threads that run the processors, in their order; one may run several."""
    answer = qmp.execute("query-cpus-fast")
    processors: list[Any] = answer if isinstance(answer, list) else [answer]
    try:
        found = [(int(each["cpu-index"]), int(each["thread-id"])) for each in processors]
    except (TypeError, KeyError, ValueError):
        raise LabError("bad-answer", f"QEMU about its processors: {answer!r}") from None
    return list(dict.fromkeys(thread for _, thread in sorted(found)))
