"""A network that leads out of its host, between three network namespaces: a guest's, a host's and a world's."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from lightvm.daemon.net.filters import Nat
from lightvm.daemon.net.links import Links
from lightvm.daemon.net.nftables import NftFilters
from tests.unit.daemon.net.netns import Namespace, open_namespace, why_no_nftables

pytestmark = pytest.mark.skipif(bool(why := why_no_nftables()), reason=why)

BRIDGE = "lvbr0"
SUBNET = IPv4Network("10.77.0.0/24")
HOST, GUEST = "10.77.0.1", "10.77.0.5"
OUTSIDE, WORLD = "192.0.2.1", "192.0.2.2"


class World:
    """The three namespaces, connected; the world knows a way to the guest."""

    def __init__(self, host: Namespace, guest: Namespace, world: Namespace) -> None:
        self.host, self.guest, self.world = host, guest, world
        host.run(self._connect)
        guest.run(set_up, "guest", f"{GUEST}/24", "default", HOST)
        world.run(set_up, "world", f"{WORLD}/24", str(SUBNET), OUTSIDE)

    def _connect(self) -> None:
        from pyroute2 import IPRoute

        links = Links()
        links.ensure_bridge(BRIDGE, IPv4Interface(f"{HOST}/24"))
        with IPRoute() as netlink:
            for port, end, there in (
                ("vif5.0", "guest", self.guest),
                ("uplink", "world", self.world),
            ):
                netlink.link("add", ifname=port, kind="veth", peer=end)
                netlink.link("set", index=links.index(end), net_ns_pid=there.tid)
        links.add_port("vif5.0", BRIDGE, 1500)
        links.close()
        set_up("uplink", f"{OUTSIDE}/24")

    def filter(self, *nats: Nat) -> None:
        """Make the tables, and forward."""

        def work() -> None:
            links, filters = Links(), NftFilters()
            filters.rebuild(nats, {}, guards=False, quiet=False)
            links.forward_ipv4()
            links.close()
            filters.close()

        self.host.run(work)


def set_up(device: str, address: str, goal: str = "", gateway: str = "") -> None:
    """Give a device its address, and the namespace a way to somewhere."""
    from pyroute2 import IPRoute

    interface = IPv4Interface(address)
    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=device)
        netlink.link("set", index=index, state="up")
        netlink.addr(
            "add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen
        )
        if goal:
            netlink.route("add", dst=goal, gateway=gateway)


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(*(stack.enter_context(open_namespace()) for _ in range(3)))


def listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, 7777))
    listener.settimeout(5)
    return listener


def ask(target: str, seconds: float) -> socket.socket:
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(seconds)
    asker.sendto(b"time?", (target, 7777))
    return asker


def answer(listener: socket.socket) -> str:
    """Answer one question; return who asked."""
    _, sender = listener.recvfrom(100)
    listener.sendto(b"late", sender)
    return str(sender[0])


def test_a_guest_reaches_the_world_as_its_host_does(world: World) -> None:
    world.filter(Nat(BRIDGE, SUBNET))
    with world.world.run(listen, WORLD) as listener:
        with world.guest.run(ask, WORLD, 5) as asker:
            assert answer(listener) == OUTSIDE
            assert asker.recv(100) == b"late"


def test_the_world_does_not_reach_a_guest_that_did_not_ask(world: World) -> None:
    world.filter(Nat(BRIDGE, SUBNET))
    with world.guest.run(listen, GUEST) as listener:
        listener.settimeout(0.1)
        with world.world.run(ask, GUEST, 0.1), pytest.raises(TimeoutError):
            answer(listener)


def test_without_nat_the_world_sees_the_guest_itself(world: World) -> None:
    world.filter()
    with world.guest.run(listen, GUEST) as listener, world.world.run(ask, GUEST, 5):
        assert answer(listener) == WORLD


def test_forwarding_is_switched_on_where_it_is_off() -> None:
    def work() -> tuple[str, str]:
        knob = Path("/proc/sys/net/ipv4/ip_forward")
        before = knob.read_text()
        Links().forward_ipv4()
        return before, knob.read_text()

    with open_namespace() as namespace:
        assert namespace.run(work) == ("0\n", "1\n")
