"""The five toolstacks of the paper for the same guest with one vif, from request to unpaused: JSON on stdout.

`xl`, and LightVM with XenStore or the device page, each with a pool (split) or without; and creates in XenStore mode
with more and more live guests. Runs in a dom0, as root, with the project's Python. All times are in milliseconds of
this one run; on an emulated host only their ratios mean anything.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time

from benchmarks.create import NOOP, PATIENCE_SECONDS, daemon, fork_exec, summary
from benchmarks.network import BRIDGE, NET, NETWORKS, xl_creates
from lightvm.blocking import Client
from lightvm.errors import LightVMError
from lightvm.model import Mode, Source

FLAVORS = """
[flavors.xs]
mode = "xenstore"
networks = ["bench"]
low = 1
high = {shells}
"""
WARM_UP = 5
LIVE = 200
EARLY, LATE = slice(5, 15), slice(LIVE - 10, LIVE)
"""The creates around the tenth and before the 200th."""


def create(client: Client, mode: Mode, *, cold: bool) -> float:
    """Create with one vif; return how long that took, from the call to the reply, by when the guest runs."""
    begun = time.perf_counter()
    created = client.create(NOOP, nets=NET, mode=mode, cold=cold)
    took = (time.perf_counter() - begun) * 1e3
    if created.source is not (Source.COLD if cold else Source.POOL):
        raise RuntimeError(f"the create was {created.source}")
    return took


def wait_full(client: Client, shells: int) -> None:
    """Wait until all pools are full; raises the reason where one cannot be."""
    while any(pool.shells < shells for pool in client.pool_status() if pool.flavor != "tiny"):
        failed = [pool.last_error for pool in client.pool_status() if pool.last_error]
        if failed:
            raise LightVMError(str(failed))
        time.sleep(1)


def measure(n: int) -> dict[str, object]:
    """Measure everything, `n` creates of each kind."""
    shells = LIVE + n + WARM_UP
    more = NETWORKS.format(shells=shells) + FLAVORS.format(shells=shells)
    times: dict[str, list[float]] = {}
    with daemon(1, more) as socket:
        with Client(socket, limit_s=PATIENCE_SECONDS) as client:
            wait_full(client, shells)
            forks = fork_exec(25)
            for mode, name in ((Mode.XENSTORE, "xs"), (Mode.NOXS, "noxs")):
                for cold in (True, False):
                    for _ in range(WARM_UP):
                        create(client, mode, cold=cold)
                    kind = name if cold else f"{name}_split"
                    times[kind] = [create(client, mode, cold=cold) for _ in range(n)]
            for domain in client.list():
                client.destroy(domain.uuid)
            wait_full(client, shells)
            growth = [create(client, Mode.XENSTORE, cold=False) for _ in range(LIVE)]
        xl = summary(xl_creates(3))
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
    results = {f"{kind}_ms": summary(took) for kind, took in times.items()}
    early, late = summary(growth[EARLY]), summary(growth[LATE])
    return {
        "fork_exec_ms": summary(forks),
        "xl_ms": xl,
        **results,
        "xs_split_early_ms": early,
        "xs_split_late_ms": late,
        "ratios": {
            **{
                f"xl_to_{kind}": round(xl["p50"] / results[f"{kind}_ms"]["p50"], 1)
                for kind in times
            },
            "late_to_early": round(late["p50"] / early["p50"], 3),
        },
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-step", type=int, default=20, help="creates of each kind")
    print(json.dumps(measure(parser.parse_args().per_step)))


if __name__ == "__main__":
    main()
