"""Figure 17: clients that ping addresses where there is nothing yet, one after the other; each gets a domain."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.daemon import DAYTIME, Pool, open_daemon
from benchmarks.record import Record

ECHO_REQUEST, ECHO_REPLY = 8, 0
HEADER = struct.Struct("!BBHHH")
IDENTIFIER = 2017
PATIENCE_SECONDS = 30.0
IDLE_SECONDS = 600.0
SERVICE = f"""
[services.clock]
image = "{DAYTIME}"
network = "bench"
addresses = ["10.79.150.1-10.79.150.200"]
flavor = "net"
idle_seconds = {IDLE_SECONDS}
"""


def measure(record: Record) -> None:
    """Measure arrivals at several distances; the last is the second ping, to domains that are there."""
    clients = record.pick(small=20, paper=60)
    for every_ms in record.pick(small=(200,), paper=(400, 200, 100)):
        pool = Pool(name="net", shells=clients, vif=True)
        with open_daemon(pool, more=SERVICE) as daemon:
            daemon.fill(pool)
            for metric in ("first answer", "second answer"):
                took = ping_in_turn(clients, every_ms / 1e3)
                record.add(f"a client each {every_ms} ms", metric, *took, running=clients)
                lost = 100 * (1 - len(took) / clients)
                record.add(f"a client each {every_ms} ms", f"{metric} lost", lost, unit="%")
            record.say(f"a client each {every_ms} ms: done")


def ping_in_turn(clients: int, every_s: float) -> list[float]:
    """Ping so many addresses once each, so often; return how long the answers took, in ms."""
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}
    with open_pinger() as pinger:
        listener = threading.Thread(target=_listen, args=(pinger, answered, clients), daemon=True)
        listener.start()
        begun = time.perf_counter()
        for number in range(clients):
            time.sleep(max(0.0, begun + number * every_s - time.perf_counter()))
            address = f"10.79.150.{1 + number}"
            sent[address] = time.perf_counter()
            pinger.sendto(make_ping(number), (address, 0))
        listener.join(PATIENCE_SECONDS)
    return [(answered[address] - sent[address]) * 1e3 for address in sent if address in answered]


@contextmanager
def open_pinger() -> Iterator[socket.socket]:
    """Open a socket for ICMP."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as pinger:
        pinger.settimeout(PATIENCE_SECONDS / 2)
        yield pinger


def make_ping(number: int) -> bytes:
    """Return an echo request (RFC 792)."""
    head = HEADER.pack(ECHO_REQUEST, 0, 0, IDENTIFIER, number)
    return HEADER.pack(ECHO_REQUEST, 0, internet_checksum(head), IDENTIFIER, number)


def internet_checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _listen(pinger: socket.socket, answered: dict[str, float], clients: int) -> None:
    while len(answered) < clients:
        try:
            packet, (address, _) = pinger.recvfrom(2048)
        except OSError:
            return  # nothing more has come, or the socket is closed
        moment = time.perf_counter()
        start = (packet[0] & 15) * 4  # RFC 791: the length of the IP header
        kind, _, _, identifier, _ = HEADER.unpack_from(packet, start)
        if (kind, identifier) == (ECHO_REPLY, IDENTIFIER):
            answered.setdefault(address, moment)
