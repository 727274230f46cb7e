"""Which guests ARP requests for services reach: the tables of `NftFilters` in a kernel, tried with frames."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from ipaddress import IPv4Address, IPv4Interface

import pytest

from lightvm.daemon.net.filters import ServiceRange
from lightvm.daemon.net.links import Links
from lightvm.daemon.net.nftables import NftFilters
from tests.unit.daemon.net.frames import ARP, arp, frame
from tests.unit.daemon.net.netns import Namespace, open_namespace, why_no_nftables

NEEDED = 'meta ibrname "br0"'
"""A kernel without ``CONFIG_NFT_BRIDGE_META`` does not know that; Debian's do."""
pytestmark = pytest.mark.skipif(bool(why := why_no_nftables(NEEDED)), reason=why)

BRIDGE, HOST = "lvbr0", "10.77.0.1"
CALLER = ("02:16:3e:00:00:09", "10.77.0.9")
KEPT = ServiceRange(BRIDGE, range(int(IPv4Address("10.77.0.16")), int(IPv4Address("10.77.0.32"))))
SERVICE, MAC = "10.77.0.17", "02:4c:0a:4d:00:11"
PORTS = {"vif5.0": "guest", "vif6.0": "neighbour", "tap0": "ear", "eth9": "caller"}
MARKER = frame("02:16:3e:00:00:09", 0x88B5, bytes(50))


@contextmanager
def open_host() -> Iterator[tuple[NftFilters, dict[str, socket.socket]]]:
    """Open a bridge with four ports, and a socket at the other end of each."""
    from pyroute2 import IPRoute

    with ExitStack() as opened:
        links, filters = opened.enter_context(closing(Links())), NftFilters()
        opened.callback(filters.close)
        links.ensure_bridge(BRIDGE, IPv4Interface(f"{HOST}/24"))
        netlink = opened.enter_context(IPRoute())
        ends = {}
        for port, end in PORTS.items():
            netlink.link("add", ifname=port, kind="veth", peer=end)
            netlink.link("set", index=links.index(end), state="up")
            links.add_port(port, BRIDGE, 1500)
            ends[end] = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            ends[end].bind((end, 3))
            ends[end].settimeout(5)
        yield filters, ends


def request(target: str) -> bytes:
    """Return a caller's ARP request."""
    mac, ip = CALLER
    return frame(mac, ARP, arp(mac, ip, asks_for=target))


def reached(ends: dict[str, socket.socket], sent: bytes) -> set[str]:
    """Return which ends a frame of the caller's reaches. A marker follows it."""
    ends["caller"].send(sent)
    ends["caller"].send(MARKER)
    found = set()
    for end in PORTS.values():
        if end == "caller":
            continue
        while not (received := ends[end].recv(2000)).startswith(MARKER[:14]):
            if received.startswith(sent[:42]):
                found.add(end)
    return found


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with open_namespace() as namespace:
        yield namespace


def test_a_request_for_a_service_wakes_no_guest_but_its_own(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            filters.rebuild((), None, [KEPT])
            assert reached(ends, request("10.77.0.5")) == {"guest", "neighbour", "ear"}
            assert reached(ends, request(SERVICE)) == {"ear"}
            ends["guest"].send(frame(MAC, ARP, arp(MAC, SERVICE, asks_for=SERVICE)))
            assert reached(ends, request("10.77.0.18")) == {"ear"}
            assert reached(ends, request(SERVICE)) == {"guest", "ear"}

    namespace.run(steps)


def test_the_host_asks_in_the_same_way(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            filters.rebuild((), None, [KEPT])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
                host.sendto(b"x", (SERVICE, 9))
            while ends["ear"].recv(2000)[12:14] != b"\x08\x06":
                pass
            ends["caller"].send(MARKER)
            while not (received := ends["guest"].recv(2000)).startswith(MARKER[:14]):
                assert received[12:14] != b"\x08\x06"

    namespace.run(steps)


def test_services_come_and_go(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            filters.rebuild((), None)
            everybody = {"guest", "neighbour", "ear"}
            assert reached(ends, request(SERVICE)) == everybody
            filters.note_services([KEPT])
            assert reached(ends, request(SERVICE)) == {"ear"}
            assert not filters.mend()
            filters.note_services(
                [ServiceRange(BRIDGE, range(KEPT.part.start + 4, KEPT.part.stop))]
            )
            assert reached(ends, request(SERVICE)) == everybody
            assert reached(ends, request("10.77.0.20")) == {"ear"}
            filters.note_services([])
            assert reached(ends, request("10.77.0.20")) == everybody

    namespace.run(steps)


def test_the_same_addresses_in_another_bridge_are_not_meant(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            filters.rebuild((), None, [ServiceRange("lvbr1", KEPT.part)])
            assert reached(ends, request(SERVICE)) == {"guest", "neighbour", "ear"}

    namespace.run(steps)
