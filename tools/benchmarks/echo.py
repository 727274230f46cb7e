"""TCP to the `echo` unikernel, and to a Linux guest of `xl` that does the same, on the same bridge: JSON on stdout.

Runs in a dom0, as root, with the project's Python. All figures are of this one run; on an emulated host only their
ratios mean anything.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.create import HERE, NOOP, PATIENCE_SECONDS, daemon
from benchmarks.network import BRIDGE, NETWORKS
from lightvm.blocking import Client
from lightvm.model import NetRequest, WaitFor

ECHO = NOOP.replace("noop", "echo")
LINUX_ADDRESS, NETMASK = "10.79.200.1", "255.255.0.0"
XL_CONFIG = (
    'name = "bench-linux"\ntype = "pvh"\nkernel = "{kernel}"\nramdisk = "{ramdisk}"\nmemory = 256\nvcpus = 1\n'
    'vif = ["bridge={bridge}"]\nextra = "quiet rdinit=/init -- {address} {netmask}"\n'
)
PING_PONGS = 200
MIB = 1 << 20
BOOT_SECONDS = 300.0


@contextmanager
def linux_guest(directory: Path) -> Iterator[str]:
    """Run a Linux guest that echoes, of dom0's own kernel; yield its address."""
    release = os.uname().release
    root = directory / "root"
    (root / "dev").mkdir(parents=True)
    subprocess.run(
        ["gcc", "-O2", "-static", "-o", root / "init", HERE / "linux_echo.c"], check=True
    )
    (module,) = Path(f"/lib/modules/{release}").glob("kernel/drivers/net/xen-netfront.ko*")
    content = module.read_bytes()
    plain = lzma.decompress(content) if module.suffix == ".xz" else content
    (root / "xen-netfront.ko").write_bytes(plain)
    ramdisk, config = directory / "initrd", directory / "linux.cfg"
    pack = f"cd {root} && find . | cpio -o -H newc --quiet > {ramdisk}"
    subprocess.run(["sh", "-c", pack], check=True)
    config.write_text(
        XL_CONFIG.format(
            kernel=f"/boot/vmlinuz-{release}",
            ramdisk=ramdisk,
            bridge=BRIDGE,
            address=LINUX_ADDRESS,
            netmask=NETMASK,
        )
    )
    subprocess.run(["xl", "create", "-q", config], check=True)
    try:
        yield LINUX_ADDRESS
    finally:
        subprocess.run(["xl", "destroy", "bench-linux"], check=True)


def call(address: str) -> socket.socket:
    """Connect, as soon as the guest answers."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            caller = socket.create_connection((address, 7), 5)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
            continue
        caller.settimeout(60)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return caller


def round_trip_ms(address: str) -> float:
    """Return the median of a byte's way there and back, in milliseconds."""
    times = []
    with call(address) as caller:
        for _ in range(PING_PONGS):
            begun = time.perf_counter()
            caller.sendall(b"x")
            assert caller.recv(1) == b"x"
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def throughput_mib(address: str, mib: int) -> float:
    """Return how many MiB a second go there and back at the same time."""
    data = os.urandom(MIB)

    def send() -> None:
        for _ in range(mib):
            caller.sendall(data)

    with call(address) as caller:
        sender = threading.Thread(target=send)
        begun = time.perf_counter()
        sender.start()
        received = bytearray()
        for _ in range(mib):
            received.clear()
            while len(received) < MIB:
                received += caller.recv(min(1 << 16, MIB - len(received)))
            assert received == data
        took = time.perf_counter() - begun
        sender.join()
    return mib / took


def measure(mib: int) -> dict[str, object]:
    """Measure both guests in turn, three times; the medians count."""
    with (
        tempfile.TemporaryDirectory() as directory,
        daemon(1, NETWORKS.format(shells=1)) as path,
        Client(path, limit_s=PATIENCE_SECONDS) as client,
    ):
        while any(pool.shells < 1 for pool in client.pool_status()):
            time.sleep(1)
        created = client.create(ECHO, nets=[NetRequest(network="bench")], wait=WaitFor.READY)
        ipv4 = created.domain.vifs[0].ipv4
        assert ipv4 is not None
        with linux_guest(Path(directory)) as linux:
            guests = {"echo": ipv4.partition("/")[0], "linux": linux}
            for address in guests.values():
                call(address).close()
            trips: dict[str, list[float]] = {name: [] for name in guests}
            rates: dict[str, list[float]] = {name: [] for name in guests}
            for _ in range(3):
                for name, address in guests.items():
                    trips[name].append(round_trip_ms(address))
                    rates[name].append(throughput_mib(address, mib))
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
    trip = {name: statistics.median(times) for name, times in trips.items()}
    rate = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "round_trip_ms": {name: round(value, 3) for name, value in trip.items()},
        "throughput_mib_s": {name: round(value, 3) for name, value in rate.items()},
        "ratios": {
            "round_trip_to_linux": round(trip["echo"] / trip["linux"], 3),
            "throughput_to_linux": round(rate["echo"] / rate["linux"], 3),
        },
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=8, help="sent there and back at a time")
    print(json.dumps(measure(parser.parse_args().mib)))


if __name__ == "__main__":
    main()
