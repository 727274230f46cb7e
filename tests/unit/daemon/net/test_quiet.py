"""Which guests hear what: the tables of `NftFilters` in a kernel, tried with frames."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from lightvm.daemon.net.filters import Port, ServiceRange, Source
from lightvm.daemon.net.links import Links
from lightvm.daemon.net.nftables import Nftables, NftFilters
from tests.unit.daemon.net.frames import ARP, IPV4, arp, datagram, frame
from tests.unit.daemon.net.netns import Namespace, open_namespace, why_no_nftables

NEEDED = 'meta obrname "br0"'
"""A kernel without ``CONFIG_NFT_BRIDGE_META`` does not know that; Debian's do."""
pytestmark = pytest.mark.skipif(bool(why := why_no_nftables(NEEDED)), reason=why)

BRIDGE, HOST = "lvbr0", "10.77.0.1"
CALLER = ("02:16:3e:00:00:09", "10.77.0.9")
GUEST, NEIGHBOUR, NOBODY = "10.77.0.5", "10.77.0.6", "10.77.0.7"
MAC = "02:4c:0a:4d:00:05"
OURS = {
    "vif5.0": Port(BRIDGE, False, Source(MAC, GUEST)),
    "vif6.0": Port(BRIDGE, False, Source("02:16:3e:00:00:06", NEIGHBOUR)),
}
KEPT = ServiceRange(BRIDGE, range(int(IPv4Address("10.77.0.16")), int(IPv4Address("10.77.0.32"))))
SERVICE = "10.77.0.17"
PORTS = {"vif5.0": "guest", "vif6.0": "neighbour", "vif9.0": "foreign", "eth9": "caller"}
IPV6_OFF = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
OTHERS = {"foreign", "caller"}
"""Ports that are none of ours: they hear all."""


@contextmanager
def open_host() -> Iterator[tuple[NftFilters, dict[str, socket.socket]]]:
    """Open a bridge with four ports, and a socket at the other end of each."""
    from pyroute2 import IPRoute

    with suppress(FileNotFoundError):  # or the ends would send something by themselves
        IPV6_OFF.write_text("1")
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
            ends[end].settimeout(0.5)
        yield filters, ends


def rebuild(filters: NftFilters, ports: Mapping[str, Port] = OURS) -> None:
    """Make the tables."""
    filters.rebuild((), ports, guards=False, quiet=True)


def request(target: str, sender: tuple[str, str] = CALLER) -> bytes:
    """Return an ARP request."""
    mac, ip = sender
    return frame(mac, ARP, arp(mac, ip, asks_for=target))


def reached(ends: dict[str, socket.socket], sent: bytes, sender: str = "caller") -> set[str]:
    """Return which ends a frame reaches. The next one is sent when all had time to hear this one."""
    ends[sender].send(sent)
    return {end for end in ends if end != sender and _hears(ends[end], sent)}


def _hears(end: socket.socket, sent: bytes) -> bool:
    try:
        while not end.recv(2000).startswith(sent[:42]):
            pass
    except TimeoutError:
        return False
    return True


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with open_namespace() as namespace:
        yield namespace


def test_a_request_for_an_address_that_was_given_reaches_who_has_it(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            rebuild(filters)
            assert reached(ends, request(GUEST)) == {"guest", "foreign"}
            assert reached(ends, request(NEIGHBOUR)) == {"neighbour", "foreign"}
            assert reached(ends, request(NOBODY)) == {"guest", "neighbour", "foreign"}
            filters.bind({"vif5.0": Source(MAC, NOBODY)})
            assert reached(ends, request(NOBODY)) == {"guest", "foreign"}
            assert reached(ends, request(GUEST)) == {"guest", "neighbour", "foreign"}

    namespace.run(steps)


def test_a_port_hears_what_is_for_all_when_it_has_sent_something(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            rebuild(filters, {})
            filters.add(OURS)
            to_all = frame(CALLER[0], IPV4, datagram(CALLER[1], "10.77.0.255"))
            assert reached(ends, to_all) == {"foreign"}
            assert reached(ends, request(NOBODY)) == {"foreign"}
            assert reached(ends, request(GUEST)) == {"guest", "foreign"}
            to_one = frame(CALLER[0], IPV4, datagram(CALLER[1], GUEST), target=MAC)
            assert "guest" in reached(ends, to_one)
            reached(ends, request(CALLER[1], (MAC, GUEST)), "guest")
            assert reached(ends, to_all) == {"guest", "foreign"}
            filters.forget(["vif5.0"])
            filters.add({"vif5.0": OURS["vif5.0"]})
            assert reached(ends, to_all) == {"foreign"}

    namespace.run(steps)


def test_who_is_there_when_the_tables_are_made_anew_is_awake(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends), closing(Nftables()) as firewall:
            rebuild(filters, {})
            filters.add(OURS)
            firewall.run("flush ruleset")
            assert filters.mend()
            to_all = frame(CALLER[0], IPV4, datagram(CALLER[1], "10.77.0.255"))
            assert reached(ends, to_all) == {"guest", "neighbour", "foreign"}
            assert reached(ends, request(GUEST)) == {"guest", "foreign"}

    namespace.run(steps)


def test_an_announcement_is_for_all_where_it_says_something_new(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            rebuild(filters)
            own = request(GUEST, (MAC, GUEST))
            assert reached(ends, own, "guest") == OTHERS
            given = request(NEIGHBOUR, ("02:16:3e:00:00:06", NEIGHBOUR))
            assert reached(ends, given, "neighbour") == {"guest", *OTHERS}

    namespace.run(steps)


def test_the_host_asks_in_the_same_way(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            rebuild(filters)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
                host.sendto(b"x", (GUEST, 9))
            assert _asked(ends) == {"guest", "foreign", "caller"}

    namespace.run(steps)


def _asked(ends: dict[str, socket.socket]) -> set[str]:
    """Return who hears an ARP request."""
    found = set()
    for name, end in ends.items():
        try:
            while end.recv(2000)[12:14] != b"\x08\x06":
                pass
            found.add(name)
        except TimeoutError:
            pass
    return found


def test_services_come_and_go(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            rebuild(filters)
            everybody = {"guest", "neighbour", "foreign"}
            assert reached(ends, request(SERVICE)) == everybody
            filters.note_services([KEPT])
            assert reached(ends, request(SERVICE)) == {"foreign"}
            assert not filters.mend()
            filters.bind({"vif5.0": Source("02:4c:0a:4d:00:11", SERVICE)})
            assert reached(ends, request(SERVICE)) == {"guest", "foreign"}
            filters.note_services(
                [ServiceRange(BRIDGE, range(KEPT.part.start + 4, KEPT.part.stop))]
            )
            assert reached(ends, request("10.77.0.18")) == everybody
            assert reached(ends, request("10.77.0.20")) == {"foreign"}
            filters.note_services([])
            assert reached(ends, request("10.77.0.20")) == everybody

    namespace.run(steps)


def test_the_same_addresses_in_another_bridge_are_not_meant(namespace: Namespace) -> None:
    def steps() -> None:
        with open_host() as (filters, ends):
            elsewhere = Port("lvbr1", False, Source("02:4c:0a:4d:00:06", NOBODY))
            rebuild(filters, {**OURS, "vif7.0": elsewhere})
            filters.note_services([ServiceRange("lvbr1", KEPT.part)])
            for target in (NOBODY, SERVICE):
                assert reached(ends, request(target)) == {"guest", "neighbour", "foreign"}

    namespace.run(steps)
