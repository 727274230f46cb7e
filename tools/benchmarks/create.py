"""How long a create takes on this host, beside fork+exec and `xl create` of the same guest: JSON on stdout.

Runs in a dom0, as root, with the project's Python. It starts a daemon of its own beside any that runs. All times are
in milliseconds of this one run; on an emulated host only their ratios mean anything.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightvm
from lightvm.blocking import Client
from lightvm.errors import NoDaemon
from lightvm.model import Created, Source, WaitFor

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
NOOP = str(Path(lightvm.__file__).parent / "guests" / "noop")
PATIENCE_SECONDS = 900.0
WARM_UP = 40  # creates before the first that counts: they pay for what is done once
XL_CONFIG = 'name = "bench-xl"\ntype = "pvh"\nkernel = "{kernel}"\nmemory = 4\nvcpus = 1\n'


def summary(times: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of times."""
    ordered = sorted(times)
    return {
        "p50": round(ordered[len(ordered) // 2], 3),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 3),
        "n": len(ordered),
    }


def timed(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes, in ms."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def wait_for(reached: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds; raise `TimeoutError`."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.2)


@contextmanager
def daemon(shells: int, more: str = "") -> Iterator[str]:
    """Run a daemon that keeps that many shells; yield its socket."""
    with tempfile.TemporaryDirectory(prefix="lightvm-bench-") as directory:
        socket = f"{directory}/lightvm.sock"
        config = Path(directory) / "lightvm.toml"
        config.write_text(
            f'[daemon]\nsocket = "{socket}"\nstate_dir = "{directory}/state"\n'
            f"[limits]\nready_seconds = 60.0\n"
            f"[flavors.tiny]\nmemory_kib = 4096\nlow = 1\nhigh = {shells}\n{more}"
        )
        process = subprocess.Popen(
            [BIN / "lightvmd", "--config", config], stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: full(socket, shells), "the pool is full")
            yield socket
            with Client(socket) as client:
                for domain in client.list(all=True):
                    client.destroy(domain.uuid, missing_ok=True)
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def full(socket: str, shells: int) -> bool:
    """Whether the daemon's pool is full."""
    try:
        with Client(socket) as client:
            return all(
                pool.shells >= shells for pool in client.pool_status() if pool.flavor == "tiny"
            )
    except NoDaemon:
        return False


def fork_exec(n: int, *command: str) -> list[float]:
    """Time fork+exec+wait of a command, by default of /bin/true."""
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/fork_exec"
        subprocess.run(["gcc", "-O2", "-o", program, HERE / "fork_exec.c"], check=True)
        out = subprocess.run(
            [program, str(n), *command], check=True, capture_output=True, text=True
        ).stdout
    return [float(line) for line in out.split()]


def api_creates(client: Client, n: int) -> list[float]:
    """Time pooled creates over the API, from the call to the guest's ready signal as the caller sees it."""
    times: list[float] = []
    for _ in range(n):
        begun = time.perf_counter()
        created = client.create(NOOP, wait=WaitFor.READY)
        times.append((time.perf_counter() - begun) * 1e3)
        if created.source is not Source.POOL:
            raise RuntimeError("the pool ran empty: this would not be a pooled create")
    return times


def cold_creates(client: Client, n: int) -> list[float]:
    """Time creates of a shape that no flavor has."""

    def create() -> Created:
        return client.create(NOOP, memory_kib=4100, wait=WaitFor.READY)

    return [timed(create) for _ in range(n)]


def cli_creates(socket: str, n: int) -> list[float]:
    """Time the `lightvm create` command, the start of Python included."""
    command = [str(BIN / "lightvm"), "--socket", socket, "create", NOOP, "--wait", "ready"]
    return [
        timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
        for _ in range(n)
    ]


def lvm_creates(socket: str, n: int) -> tuple[list[float], list[float]]:
    """Time the `lvm create` command as a whole process; return its times, and those of /bin/true around them."""
    command = (str(BIN / "lvm"), "create", NOOP, "--wait", "ready", "--socket", socket)
    forks = fork_exec(n)
    times = fork_exec(n, *command)
    return times, forks + fork_exec(n)


def xl_creates(n: int) -> list[float]:
    """Time `xl create` of the same guest without devices."""
    times = []
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(XL_CONFIG.format(kernel=NOOP))
        config.flush()
        for _ in range(n):
            times.append(
                timed(lambda: subprocess.run(["xl", "create", "-q", config.name], check=True))
            )
            subprocess.run(["xl", "destroy", "bench-xl"], check=True)
    return times


def measure(live: list[int], per_step: int) -> dict[str, object]:
    """Measure everything; `live` are the numbers of live domains at which pooled creates are timed."""
    results: dict[str, object] = {}
    # Enough for all, so that no refill comes in between.
    shells = WARM_UP + max(live) + per_step * len(live) + 10
    with daemon(shells) as socket, Client(socket, limit_s=PATIENCE_SECONDS) as client:
        api_creates(client, WARM_UP)
        for domain in client.list():
            client.destroy(domain.uuid)
        forks = fork_exec(
            25
        )  # before, between and after the creates: the host may be slower at times
        series = []
        for target in live:
            missing = target - len(client.list())
            if missing > 0:
                api_creates(client, missing)
            time.sleep(3)  # what those creates left for later is done
            at = len(client.list())
            series.append({"live_domains": at, **summary(api_creates(client, per_step))})
            forks += fork_exec(25)
        results["fork_exec_ms"] = yardstick = summary(forks)
        results["api_create_ms"] = pooled = series[0]
        results["api_create_series"] = series
        results["api_create_cold_ms"] = cold = summary(cold_creates(client, 10))
        results["live_domains"] = len(client.list())
    with daemon(50) as socket:
        lvm, around = map(summary, lvm_creates(socket, 25))
        results["lvm_create_ms"] = lvm
        results["cli_create_ms"] = cli = summary(cli_creates(socket, 10))
        results["xl_create_ms"] = xl = summary(xl_creates(5))
    results["ratios"] = {
        "api_create_to_fork_exec": round(pooled["p50"] / yardstick["p50"], 4),
        "api_create_cold_to_fork_exec": round(cold["p50"] / yardstick["p50"], 4),
        "lvm_create_to_fork_exec": round(lvm["p50"] / around["p50"], 4),
        "cli_create_to_fork_exec": round(cli["p50"] / yardstick["p50"], 4),
        "xl_create_to_api_create": round(xl["p50"] / pooled["p50"], 1),
        "last_to_first_of_series": round(series[-1]["p50"] / series[0]["p50"], 4),
    }
    return results


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--live", type=int, nargs="+", default=[1, 100, 1000], help="live domains to measure at"
    )
    parser.add_argument("--per-step", type=int, default=100, help="creates timed at each step")
    options = parser.parse_args()
    print(json.dumps(measure(sorted(options.live), options.per_step)))


if __name__ == "__main__":
    main()
