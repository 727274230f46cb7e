"""TCP to the `echo` unikernel, and to a Linux guest of `xl` that does the same, on the same bridge."""

from __future__ import annotations

import os
import socket
import threading
import time

from benchmarks import xl
from benchmarks.daemon import ECHO, NET, Pool, create_timed, open_daemon, timed, vif_address
from benchmarks.instances import BOOT_SECONDS, guest_address
from benchmarks.record import Record

PING_PONGS = 200
ROUNDS = 3
MIB = 1 << 20


def measure(record: Record) -> None:
    """Measure both guests in turn."""
    mib = record.pick(small=4, paper=16)
    pool = Pool(name="net", shells=2, vif=True)
    with open_daemon(pool) as daemon:
        daemon.fill(pool)
        created, _ = create_timed(daemon.client, ECHO, nets=NET)
        with xl.linux_guest(guest_address(0)) as linux:
            guests = {"echo": vif_address(created), "Linux": linux}
            for address in guests.values():
                call(address).close()
            for _ in range(ROUNDS):
                for contender, address in guests.items():
                    record.add(contender, "round trip", *round_trips_ms(address))
                    record.add(contender, "throughput", throughput_mib(address, mib), unit="MiB/s")


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


def round_trips_ms(address: str) -> list[float]:
    """Return how long a byte took there and back, each time."""

    def round_trip() -> None:
        caller.sendall(b"x")
        assert caller.recv(1) == b"x"

    with call(address) as caller:
        return [timed(round_trip) for _ in range(PING_PONGS)]


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
