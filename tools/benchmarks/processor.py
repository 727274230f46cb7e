"""How much of a processor dom0 takes, by Xen's own account of its time."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType


def dom0_share(seconds: float) -> float:
    """Return how much of a processor dom0 takes in the next so many seconds; 1 is all of one."""
    before, begun = dom0_seconds(), time.perf_counter()
    time.sleep(seconds)
    return (dom0_seconds() - before) / (time.perf_counter() - begun)


def dom0_seconds() -> float:
    """Return the processor time of dom0; without Xen's own binding it has but one decimal."""
    try:
        (dom0,) = xen_binding().xc().domain_getinfo(0, 1)
    except ImportError:
        line = subprocess.run(["xl", "list", "0"], check=True, capture_output=True, text=True)
        return float(line.stdout.split()[-1])
    return float(dom0["cpu_time"]) / 1e9


@functools.cache
def xen_binding() -> ModuleType:
    """Return Xen's own Python binding, which is not where others are; raises `ImportError`."""
    for pattern in ("xen-*/lib/python*", "xen-*/lib/python*/*-packages"):
        sys.path += [str(path) for path in Path("/usr/lib").glob(pattern)]
    return importlib.import_module("xen.lowlevel.xc")
