"""A packet socket at a bridge of a kernel, in a network namespace."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
import trio

from lightvm.daemon.jit.listener import Frame, PacketWire, Wire
from lightvm.daemon.net.links import Links
from lightvm.errors import LinkFailed
from tests.unit.daemon.jit.samples import CALLER, arp, ipv4, number
from tests.unit.daemon.net.netns import Namespace, open_namespace, why_no_namespace

needs_root = pytest.mark.skipif(bool(why := why_no_namespace()), reason=why)
RANGES = [range(number("10.77.0.16"), number("10.77.0.32"))]
ADDRESS = IPv4Interface("10.77.0.1/24")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace with a bridge, and a pair of devices of which one is its port."""
    with open_namespace() as namespace:
        namespace.run(make_bridge)
        yield namespace


def make_bridge() -> None:
    from pyroute2 import IPRoute

    links = Links()
    with IPRoute() as netlink:
        links.ensure_bridge("lvbr0", ADDRESS)
        netlink.link("add", ifname="port", kind="veth", peer={"ifname": "guest"})
        netlink.link("set", index=links.index("port"), master=links.index("lvbr0"), state="up")
        netlink.link("set", index=links.index("guest"), state="up")
    links.close()
    end = time.monotonic() + 5  # until the kernel has seen that they have a carrier
    for device in ("lvbr0", "port", "guest"):
        while Path(f"/sys/class/net/{device}/operstate").read_text() != "up\n":
            assert time.monotonic() < end
            time.sleep(0.01)


def raw(device: str) -> socket.socket:
    """Return a packet socket at a device."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((device, 3))
    made.settimeout(5)
    return made


async def receive(wire: Wire) -> Frame:
    with trio.fail_after(5):
        return await wire.receive()


async def nothing_more(wire: Wire) -> None:
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0.05):
            await wire.receive()


@needs_root
def test_frames_of_ports_and_of_the_host_are_heard(namespace: Namespace) -> None:
    async def main() -> None:
        wire = PacketWire("lvbr0", 1500, RANGES)
        with raw("guest") as guest:
            for frame in (arp("10.77.0.40"), arp("10.77.0.17"), ipv4("10.77.0.18", b"x" * 30)):
                guest.send(frame)
            assert (await receive(wire)).data == arp("10.77.0.17")
            assert (await receive(wire)).data == ipv4("10.77.0.18", b"x" * 30)
            await nothing_more(wire)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
                host.sendto(b"x", ("10.77.0.19", 9))
            asked = (await receive(wire)).data
            assert asked[12:14] == b"\x08\x06"
            assert asked[38:42] == number("10.77.0.19").to_bytes(4)
        wire.close()

    namespace.run(trio.run, main)


@needs_root
def test_what_is_sent_leaves_by_the_port_only_and_does_not_come_back(namespace: Namespace) -> None:
    async def main() -> None:
        wire = PacketWire("lvbr0", 1500, RANGES)
        with raw("guest") as guest:
            wire.send("port", Frame(arp("10.77.0.17")))
            while (heard := guest.recv(2000))[6:12] != CALLER:
                pass  # what the kernel says by itself
            assert heard == arp("10.77.0.17")
            await nothing_more(wire)
        wire.close()

    namespace.run(trio.run, main)


@needs_root
def test_a_checksum_that_the_host_left_to_hardware_is_made(namespace: Namespace) -> None:
    async def main() -> None:
        from pyroute2 import IPRoute

        links = Links()
        with (
            IPRoute() as netlink
        ):  # so that the host sends without asking for the MAC address first
            netlink.neigh(
                "add", dst="10.77.0.17", lladdr="02:4c:0a:4d:00:11", ifindex=links.index("lvbr0")
            )
        wire = PacketWire("lvbr0", 1500, RANGES)
        with socket.socket() as host, raw("guest") as guest:
            host.setblocking(False)
            host.connect_ex(("10.77.0.17", 13))
            frame = await receive(wire)
            assert frame.data[:6] == bytes.fromhex("024c0a4d0011")
            assert frame.offload[0] & 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM
            wire.send("port", frame)
            while (heard := guest.recv(2000))[12:14] != b"\x08\x00":
                pass
            assert heard[34:] != b""
        wire.close()

    namespace.run(trio.run, main)


@needs_root
def test_a_device_that_is_not_there_is_an_error(namespace: Namespace) -> None:
    async def main() -> None:
        with pytest.raises(LinkFailed, match="lvbr1"):
            PacketWire("lvbr1", 1500, RANGES)
        wire = PacketWire("lvbr0", 1500, RANGES)
        with pytest.raises(LinkFailed, match="gone"):
            wire.send("gone", Frame(arp("10.77.0.17")))
        wire.close()

    namespace.run(trio.run, main)
