"""How many requests reach xenstored, from the request for a create to its reply, as strace sees them."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks import xl
from benchmarks.daemon import WAYS, open_daemon, pools_for_all_ways, warm_up
from benchmarks.record import Record

WARM = 5
AFTER_SECONDS = 3.0
"""What is written after the replies, such as names: strace must have seen that it sees."""


def measure(record: Record) -> None:
    """Measure the toolstacks."""
    n = record.pick(small=5, paper=20)
    pools = pools_for_all_ways(n + WARM)
    with open_daemon(*pools) as daemon:
        daemon.fill(*pools)
        warm_up(daemon.client, WARM, vif=True)
        for way in WAYS:
            seen = count_requests(partial(way.create, daemon.client), n)
            record.add(way.name, "requests", *seen, unit="requests")
            record.say(way.name)
        config = xl.write_config("bench-xl", vif=True)
        seen = count_requests(partial(xl.create, config), 1)
        record.add("xl", "requests", *seen, unit="requests")
        xl.destroy("bench-xl")


def count_requests(create: Callable[[], object], n: int) -> list[float]:
    """Return the numbers of messages that xenstored reads during each of `n` creates."""
    found = subprocess.run(
        ["pgrep", "-x", "xenstored|oxenstored"], check=True, capture_output=True, text=True
    )
    pid = found.stdout.split()[0]
    with tempfile.NamedTemporaryFile("r") as log:
        command = ["strace", "-f", "-ttt", "-qq", "-e", "trace=read,recvfrom", "-o", log.name]
        strace = subprocess.Popen([*command, "-p", pid])
        served = []
        try:
            while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.1)
            for _ in range(n):
                begun = time.time()
                create()
                served.append((begun, time.time()))
            subprocess.run(
                ["xenstore-read", "/local/domain/0/name"], capture_output=True, check=False
            )
            time.sleep(AFTER_SECONDS)
        finally:
            strace.terminate()
            strace.wait()
        return count_between(log, served)


def count_between(log: Iterable[str], served: Iterable[tuple[float, float]]) -> list[float]:
    """Return how many messages were read between each two moments, by the log of strace; raises `RuntimeError`."""
    seen = [float(line.split()[1]) for line in log if "= -1" not in line]
    if not seen:
        raise RuntimeError("strace saw no request to xenstored at all")
    return [float(sum(begun <= moment <= ended for moment in seen)) for begun, ended in served]
