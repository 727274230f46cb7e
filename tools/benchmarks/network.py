"""What a vif costs a create on this host, how soon a guest with one answers, beside `xl create`: JSON on stdout.

Runs in a dom0, as root, with the project's Python. All times are in milliseconds of this one run; on an emulated host
only their ratios mean anything.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.create import (
    NOOP,
    PATIENCE_SECONDS,
    WARM_UP,
    api_creates,
    daemon,
    fork_exec,
    summary,
    timed,
)
from lightvm.blocking import Client
from lightvm.errors import LightVMError
from lightvm.model import Created, NetRequest, Source, WaitFor

BRIDGE = "lvbench0"
NETWORKS = """
[networks.bench]
bridge = "lvbench0"
address = "10.79.0.1/16"
[flavors.net]
networks = ["bench"]
low = 1
high = {shells}
"""
NET = [NetRequest(network="bench")]
DAYTIME = NOOP.replace("noop", "daytime")
XL_CONFIG = (
    'name = "bench-xl"\ntype = "pvh"\nkernel = "{kernel}"\nmemory = 4\nvcpus = 1\n'
    'vif = ["bridge={bridge}"]\n'
)


def create(client: Client, image: str, nets: list[NetRequest] | None) -> tuple[Created, float]:
    """Create from the pool; return how long that took, from the call to ready as the caller sees it."""
    begun = time.perf_counter()
    created = client.create(image, nets=nets, wait=WaitFor.READY)
    took = (time.perf_counter() - begun) * 1e3
    if created.source is not Source.POOL:
        raise RuntimeError("the pool ran empty: this would not be a pooled create")
    return created, took


def in_turn(client: Client, n: int) -> tuple[list[float], list[float]]:
    """Time creates without and with a vif of the same guest, in turn, so that both see the same host."""
    without, with_vif = [], []
    for _ in range(n):
        without.append(create(client, NOOP, None)[1])
        with_vif.append(create(client, NOOP, NET)[1])
    return without, with_vif


def xenstore_requests(client: Client, n: int) -> int:
    """Return how many requests xenstored gets between the requests and the replies of `n` creates with a vif."""
    pid = subprocess.run(
        ["pgrep", "-x", "xenstored|oxenstored"], check=True, capture_output=True, text=True
    ).stdout.split()[0]
    with tempfile.NamedTemporaryFile("r") as log:
        command = ["strace", "-f", "-ttt", "-qq", "-e", "trace=read,recvfrom", "-o", log.name]
        strace = subprocess.Popen([*command, "-p", pid])
        try:
            while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.1)
            served = []
            for _ in range(n):
                begun = time.time()
                create(client, NOOP, NET)
                served.append((begun, time.time()))
            time.sleep(3)  # names for xl are written after the replies: strace must see that
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait()
        seen = [float(line.split()[1]) for line in log if "= -1" not in line]
    if not seen:
        raise RuntimeError("strace saw no request to xenstored at all")
    return sum(begun <= moment <= ended for begun, ended in served for moment in seen)


def first_answers(client: Client, n: int) -> tuple[list[float], list[float]]:
    """Time `daytime`: to ready, and from there to the first ping that was answered."""
    ready, answered = [], []
    for _ in range(n):
        created, took = create(client, DAYTIME, NET)
        ready.append(took)
        ipv4 = created.domain.vifs[0].ipv4
        assert ipv4 is not None
        ping = ["ping", "-q", "-c", "1", "-W", "10", ipv4.partition("/")[0]]
        out = subprocess.run(ping, check=True, capture_output=True, text=True).stdout
        answered.append(float(out.rpartition(" = ")[2].split("/")[0]))
    return ready, answered


def xl_creates(n: int) -> list[float]:
    """Time `xl create` of the same guest with one vif."""
    times = []
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(XL_CONFIG.format(kernel=NOOP, bridge=BRIDGE))
        config.flush()
        command = ["xl", "create", "-q", config.name]
        for _ in range(n):
            times.append(timed(lambda: subprocess.run(command, check=True)))
            subprocess.run(["xl", "destroy", "bench-xl"], check=True)
    return times


def measure(n: int) -> dict[str, object]:
    """Measure everything, `n` creates of each kind."""
    shells = 2 * n + WARM_UP + 30
    with daemon(shells, NETWORKS.format(shells=shells)) as socket:
        with Client(socket, limit_s=PATIENCE_SECONDS) as client:
            while any(pool.shells < shells for pool in client.pool_status()):
                failed = [pool.last_error for pool in client.pool_status() if pool.last_error]
                if failed:
                    raise LightVMError(str(failed))
                time.sleep(1)
            api_creates(client, WARM_UP // 2)
            for _ in range(WARM_UP // 2):
                create(client, NOOP, NET)
            time.sleep(3)  # what those creates left for later is done
            forks = fork_exec(25)
            without, with_vif = in_turn(client, n)
            forks += fork_exec(25)
            ready, answered = first_answers(client, 20)
            requests = xenstore_requests(client, n)
        xl = summary(xl_creates(3))
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
    results: dict[str, dict[str, float]] = {
        "fork_exec_ms": summary(forks),
        "api_create_ms": summary(without),
        "api_create_vif_ms": summary(with_vif),
        "daytime_create_ms": summary(ready),
        "first_ping_ms": summary(answered),
        "xl_create_vif_ms": xl,
    }
    pooled = results["api_create_vif_ms"]["p50"]
    return {
        **results,
        "xenstore_requests": {"creates": n, "between_request_and_reply": requests},
        "ratios": {
            "vif_to_no_vif": round(pooled / results["api_create_ms"]["p50"], 4),
            "xl_create_to_api_create_vif": round(xl["p50"] / pooled, 1),
        },
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-step", type=int, default=100, help="creates of each kind")
    print(json.dumps(measure(parser.parse_args().per_step)))


if __name__ == "__main__":
    main()
