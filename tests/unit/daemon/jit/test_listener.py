"""A TAP in a bridge of a kernel, in a network namespace."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
import trio

from lightvm.daemon.jit import listener
from lightvm.daemon.jit.listener import TapWire
from lightvm.daemon.net.links import Links
from lightvm.errors import LinkFailed
from tests.unit.daemon.jit.samples import CALLER, arp, ipv4, number
from tests.unit.daemon.net.netns import Namespace, open_namespace, why_no_namespace

needs_root = pytest.mark.skipif(bool(why := why_no_namespace()), reason=why)
RANGES = [range(number("10.77.0.16"), number("10.77.0.32"))]
ADDRESS = IPv4Interface("10.77.0.1/24")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace with a bridge, and two pairs of devices of which one each is its port."""
    with open_namespace() as namespace:
        namespace.run(make_bridge)
        yield namespace


def make_bridge() -> None:
    from pyroute2 import IPRoute

    links = Links()
    with IPRoute() as netlink:
        links.ensure_bridge("lvbr0", ADDRESS)
        for port, end in (("port", "guest"), ("another", "other")):
            netlink.link("add", ifname=port, kind="veth", peer={"ifname": end})
            netlink.link("set", index=links.index(port), master=links.index("lvbr0"), state="up")
            netlink.link("set", index=links.index(end), state="up")
    links.close()
    end = time.monotonic() + 5  # until the kernel has seen that they have a carrier
    for device in ("lvbr0", "port", "guest", "another", "other"):
        while Path(f"/sys/class/net/{device}/operstate").read_text() != "up\n":
            assert time.monotonic() < end
            time.sleep(0.01)


def raw(device: str) -> socket.socket:
    """Return a packet socket at a device."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((device, 3))
    made.settimeout(5)
    return made


@contextmanager
def open_wire() -> Iterator[TapWire]:
    """Open a TAP, and put it into the bridge."""
    with closing(Links()) as links, closing(TapWire(RANGES)) as wire:
        links.add_port(wire.device, "lvbr0", 1500)
        yield wire


async def receive(wire: TapWire) -> bytes:
    with trio.fail_after(5):
        return await wire.receive()


async def nothing_more(wire: TapWire) -> None:
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0.05):
            await wire.receive()


@needs_root
def test_frames_of_ports_and_of_the_host_are_heard(namespace: Namespace) -> None:
    async def main() -> None:
        with open_wire() as wire, raw("guest") as guest:
            for frame in (arp("10.77.0.40"), arp("10.77.0.17"), ipv4("10.77.0.18", b"x" * 30)):
                guest.send(frame)
            assert await receive(wire) == arp("10.77.0.17")
            assert await receive(wire) == ipv4("10.77.0.18", b"x" * 30)
            await nothing_more(wire)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
                host.sendto(b"x", ("10.77.0.19", 9))
            asked = await receive(wire)
            assert asked[12:14] == b"\x08\x06"
            assert asked[38:42] == number("10.77.0.19").to_bytes(4)

    namespace.run(trio.run, main)


@needs_root
def test_what_is_for_a_port_that_the_bridge_knows_is_not_heard(namespace: Namespace) -> None:
    async def main() -> None:
        to_guest = ipv4("10.77.0.18", b"x" * 30)
        with open_wire() as wire, raw("guest") as guest, raw("other") as other:
            other.send(to_guest)
            assert await receive(wire) == to_guest
            guest.send(CALLER + to_guest[:6] + b"\x88\xb5" + bytes(50))  # now it is known
            await trio.sleep(0.05)
            other.send(to_guest)
            await nothing_more(wire)

    namespace.run(trio.run, main)


@needs_root
def test_what_is_sent_leaves_by_the_port_only_and_does_not_come_back(namespace: Namespace) -> None:
    async def main() -> None:
        with open_wire() as wire, raw("guest") as guest:
            wire.send("port", arp("10.77.0.17"))
            while (heard := guest.recv(2000))[6:12] != CALLER:
                pass  # what the kernel says by itself
            assert heard == arp("10.77.0.17")
            await nothing_more(wire)

    namespace.run(trio.run, main)


@needs_root
def test_what_the_host_leaves_to_hardware_is_done(namespace: Namespace) -> None:
    async def main() -> None:
        from pyroute2 import IPRoute

        with closing(Links()) as links, IPRoute() as netlink:
            # so that the host sends without asking for the MAC address first
            netlink.neigh(
                "add", dst="10.77.0.17", lladdr="02:4c:0a:4d:00:11", ifindex=links.index("lvbr0")
            )
        with open_wire() as wire:
            with socket.socket() as host:
                host.setblocking(False)
                host.connect_ex(("10.77.0.17", 13))
                check_sums(await receive(wire))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
                host.sendto(bytes(4000), ("10.77.0.17", 9))
                assert [len(await receive(wire)) for _ in range(3)] == [1514, 1514, 1082]

    namespace.run(trio.run, main)


def check_sums(frame: bytes) -> None:
    """Check the checksum of a TCP segment (RFC 9293, 3.1)."""
    assert frame[:6] == bytes.fromhex("024c0a4d0011")
    segment = frame[34:]
    summed = frame[26:34] + b"\0\x06" + len(segment).to_bytes(2) + segment
    total = sum(int.from_bytes(summed[at : at + 2]) for at in range(0, len(summed), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


@needs_root
def test_it_goes_with_the_wire_and_a_device_that_goes_first_is_an_error(
    namespace: Namespace,
) -> None:
    async def main() -> None:
        from pyroute2 import IPRoute

        with open_wire() as wire:
            device = wire.device
            assert Path(f"/sys/class/net/{device}").exists()
            with pytest.raises(LinkFailed, match="gone"):
                wire.send("gone", arp("10.77.0.17"))
        assert not Path(f"/sys/class/net/{device}").exists()
        with open_wire() as wire, IPRoute() as netlink:
            netlink.link("del", index=socket.if_nametoindex(wire.device))
            with pytest.raises(LinkFailed, match=wire.device):
                await receive(wire)

    namespace.run(trio.run, main)


def test_without_a_tun_driver_there_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "TUN", tmp_path / "tun")
    with pytest.raises(LinkFailed, match="TAP: No such file"):
        TapWire(RANGES)
