"""What nftables lets a guest send: the tables of `NftFilters` in a kernel, tried with frames."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from lightvm.daemon.net.filters import Nat, Port, Source
from lightvm.daemon.net.links import Links
from lightvm.daemon.net.nftables import Nftables, NftFilters
from lightvm.errors import LinkFailed
from tests.unit.daemon.net.frames import ARP, IPV4, IPV6, LLDP, SLOW, arp, datagram, frame, ipv6
from tests.unit.daemon.net.netns import Namespace, open_namespace, why_no_nftables

pytestmark = pytest.mark.skipif(bool(why := why_no_nftables()), reason=why)

BRIDGE, HOST = "lvbr0", "10.77.0.1"
PORT, OTHER = "vif5.0", "vif6.0"
MAC, IP = "02:16:3e:00:00:05", "10.77.0.5"
FOREIGN_MAC, FOREIGN_IP = "02:16:3e:00:00:06", "10.77.0.6"
OWN = {PORT: Port(BRIDGE, True, Source(MAC, IP))}
MARKER = frame(MAC, IPV4, datagram(IP, "10.77.0.255", dport=5555))


class Host:
    """A bridge with two ports; `guest` and `neighbour` are the other ends of them. Used inside of a namespace."""

    def __init__(self) -> None:
        from pyroute2 import IPRoute

        self.links, self.filters = Links(), NftFilters()
        self.links.ensure_bridge(BRIDGE, IPv4Interface(f"{HOST}/24"))
        with IPRoute() as netlink:
            for port, end in ((PORT, "guest"), (OTHER, "neighbour")):
                netlink.link("add", ifname=port, kind="veth", peer=end)
                netlink.link("set", index=self.links.index(end), state="up")
                self.links.add_port(port, BRIDGE, 1500)
        self.links.hook_all(PORT)
        self.guest, self.neighbour = open_raw("guest"), open_raw("neighbour")

    def close(self) -> None:
        """Let go of everything."""
        for open_ in (self.links, self.filters, self.guest, self.neighbour):
            open_.close()

    def passes(self, sent: bytes) -> bool:
        """Whether a frame gets from the guest to its neighbour. A marker that is let through follows it."""
        self.guest.send(sent)
        self.guest.send(MARKER)
        seen = False
        while not (received := self.neighbour.recv(2000)).startswith(head(MARKER)):
            seen = seen or received.startswith(head(sent))
        return seen

    def mac(self) -> str:
        """The bridge's own address."""
        return Path(f"/sys/class/net/{BRIDGE}/address").read_text().strip()


def head(sent: bytes) -> bytes:
    """Return what a frame begins with where it arrives: its tag is taken off, and its padding may be."""
    return sent[:12] + sent[16:42] if sent[12:14] == b"\x81\x00" else sent[:42]


def open_raw(device: str) -> socket.socket:
    """Return a socket that sends to a device, and receives what arrives there."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    raw.bind((device, 0))
    raw.settimeout(5)
    return raw


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with open_namespace() as namespace:
        yield namespace


@pytest.fixture(scope="module")
def host(namespace: Namespace) -> Iterator[Host]:
    host = namespace.run(Host)
    yield host
    namespace.run(host.close)


def rebuild(filters: NftFilters, ports: Mapping[str, Port] | None = None, *nats: Nat) -> None:
    """Make the tables with guarded ports, or without guards."""
    filters.rebuild(nats, ports or {}, guards=ports is not None, quiet=False)


@pytest.fixture
def guarded(namespace: Namespace, host: Host) -> None:
    namespace.run(rebuild, host.filters, OWN)


GOOD = {
    "datagram": frame(MAC, IPV4, datagram(IP, "10.77.0.9")),
    "to all": frame(MAC, IPV4, datagram(IP, "255.255.255.255")),
    "arp": frame(MAC, ARP, arp(MAC, IP, asks_for="10.77.0.9")),
}
BAD = {
    "mac": frame(FOREIGN_MAC, IPV4, datagram(IP, "10.77.0.9")),
    "ip": frame(MAC, IPV4, datagram(FOREIGN_IP, "10.77.0.9")),
    "both": frame(FOREIGN_MAC, IPV4, datagram(FOREIGN_IP, "10.77.0.9")),
    "host's ip": frame(MAC, IPV4, datagram(HOST, "10.77.0.9")),
    "arp, mac of the frame": frame(FOREIGN_MAC, ARP, arp(MAC, IP, asks_for="10.77.0.9")),
    "arp, mac": frame(MAC, ARP, arp(FOREIGN_MAC, IP, asks_for="10.77.0.9")),
    "arp, ip": frame(MAC, ARP, arp(MAC, HOST, asks_for="10.77.0.9")),
    "arp, probe": frame(MAC, ARP, arp(MAC, "0.0.0.0", asks_for="10.77.0.9")),
    "ipv6": frame(MAC, IPV6, ipv6("fe80::5", "ff02::1")),
    "vlan": frame(MAC, IPV4, datagram(IP, "10.77.0.9"), vlan=5),
    "priority": frame(MAC, IPV4, datagram(IP, "10.77.0.9"), vlan=0x2000),
    "dhcp request": frame(MAC, IPV4, datagram("0.0.0.0", "255.255.255.255", sport=68, dport=67)),
    "dhcp offer": frame(MAC, IPV4, datagram(IP, "255.255.255.255", sport=67, dport=68)),
    "lldp": frame(MAC, LLDP, b"x", target="01:80:c2:00:00:0e"),
    "lacp": frame(MAC, SLOW, b"x", target="01:80:c2:00:00:02"),
}


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("sent", GOOD.values(), ids=GOOD)
def test_a_guest_sends_in_its_own_name(namespace: Namespace, host: Host, sent: bytes) -> None:
    assert namespace.run(host.passes, sent)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
def test_a_guest_sends_nothing_else(namespace: Namespace, host: Host, sent: bytes) -> None:
    assert not namespace.run(host.passes, sent)


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
def test_without_a_guard_all_of_that_gets_through(
    namespace: Namespace, host: Host, sent: bytes
) -> None:
    namespace.run(rebuild, host.filters)
    assert namespace.run(host.passes, sent)


@pytest.mark.usefixtures("guarded")
def test_a_bridge_learns_nothing_of_a_frame_that_is_dropped(
    namespace: Namespace, host: Host
) -> None:
    def learned() -> set[str]:
        from pyroute2 import IPRoute

        for group in range(16):
            source = f"02:16:3e:00:01:{group:02x}"
            sent = frame(source, LLDP, b"x", target=f"01:80:c2:00:00:{group:02x}")
            assert not host.passes(sent)
        with IPRoute() as netlink:
            entries = netlink.fdb("dump", ifindex=host.links.index(PORT))
            return {entry.get_attr("NDA_LLADDR") for entry in entries}

    assert not {mac for mac in namespace.run(learned) if mac.startswith("02:16:3e:00:01")}


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("group", [None, "01:80:c2:00:00:0e", "01:80:c2:00:00:03"])
def test_the_host_hears_nobody_else(namespace: Namespace, host: Host, group: str | None) -> None:
    def heard() -> list[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind((HOST, 4444))
            listener.settimeout(5)
            for source in (FOREIGN_IP, IP):
                target = group if source != IP and group else host.mac()
                host.guest.send(frame(MAC, IPV4, datagram(source, HOST, dport=4444), target=target))
            senders = [listener.recvfrom(10)[1][0]]
            listener.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                senders.append(listener.recvfrom(10)[1][0])
            return senders

    assert namespace.run(heard) == [IP]


def test_a_port_without_a_source_sends_nothing_until_it_has_one(
    namespace: Namespace, host: Host
) -> None:
    def steps() -> None:
        rebuild(host.filters, {})
        assert host.passes(BAD["mac"])  # a port of somebody else's, so far
        host.filters.add({PORT: Port(BRIDGE, True, None)})
        host.guest.send(GOOD["datagram"])
        host.filters.bind({PORT: Source(MAC, IP)})
        assert not host.passes(BAD["mac"])
        host.filters.bind({PORT: Source(FOREIGN_MAC, FOREIGN_IP), "vif8.0": None})
        host.guest.send(MARKER)  # the former source is not good any more
        host.filters.forget([PORT, "vif7.0"])
        assert host.passes(BAD["mac"])

    namespace.run(steps)
    assert namespace.run(tables) == {"bridge": {"guarded": [], "sources": []}}


def tables() -> dict[str, dict[str, list[object]]]:
    """Return our tables in this namespace: by family, their sets with their elements."""
    library = Nftables()
    listed = json.loads(library.run("list ruleset", json=True))["nftables"]
    library.close()
    found: dict[str, dict[str, list[object]]] = {
        item["table"]["family"]: {} for item in listed if "table" in item
    }
    for item in listed:
        if "set" in item:
            found[item["set"]["family"]][item["set"]["name"]] = item["set"].get("elem", [])
    return found


def test_tables_are_ours_alone_and_go_when_nothing_is_asked_for() -> None:
    def steps() -> None:
        other, filters = Nftables(), NftFilters()
        other.run("add table inet firewall")
        nat = Nat(BRIDGE, IPv4Network("10.77.0.0/24"))
        for _ in range(2):
            rebuild(filters, OWN, nat, nat)
            assert tables() == {
                "inet": {},
                "bridge": {"guarded": [PORT], "sources": [{"concat": [PORT, MAC, IP]}]},
            }
        rebuild(filters)
        assert other.run("list ruleset").split() == ["table", "inet", "firewall", "{", "}"]
        other.close()
        filters.close()

    with open_namespace() as namespace:
        namespace.run(steps)


def test_tables_that_somebody_removed_are_made_anew_by_the_next_change() -> None:
    def steps() -> None:
        firewall, filters = Nftables(), NftFilters()
        rebuild(filters, OWN)
        firewall.run("flush ruleset")
        filters.add({OTHER: Port(BRIDGE, True, None)})
        assert sorted(map(str, tables()["bridge"]["guarded"])) == [PORT, OTHER]
        firewall.run("flush ruleset")
        filters.forget([OTHER])
        assert tables()["bridge"]["guarded"] == [PORT]
        firewall.close()
        filters.close()

    with open_namespace() as namespace:
        namespace.run(steps)


@pytest.mark.parametrize(
    "commands", ["flush ruleset", "flush table bridge lightvm", "delete table inet lightvm"]
)
def test_tables_that_somebody_removed_are_mended(commands: str) -> None:
    def steps() -> None:
        firewall, filters = Nftables(), NftFilters()
        rebuild(filters, OWN, Nat(BRIDGE, IPv4Network("10.77.0.0/24")))
        before = firewall.run("list ruleset")
        assert not filters.mend()
        firewall.run(commands)
        assert filters.mend()
        assert sorted(firewall.run("list ruleset").split()) == sorted(before.split())
        assert not filters.mend()
        firewall.close()
        filters.close()

    with open_namespace() as namespace:
        namespace.run(steps)


def test_where_nothing_is_asked_for_nothing_is_mended() -> None:
    def steps() -> None:
        filters = NftFilters()
        rebuild(filters)
        assert not filters.mend()
        filters.close()

    with open_namespace() as namespace:
        namespace.run(steps)


def test_thousands_of_guests_fit_into_one_transaction() -> None:
    many = {
        f"vif{n}.0": Port(
            BRIDGE,
            True,
            Source(f"02:16:3e:00:{n >> 8:02x}:{n & 255:02x}", f"10.77.{n >> 8}.{n & 255}"),
        )
        for n in range(1, 5000)
    }

    def steps() -> int:
        filters = NftFilters()
        rebuild(filters, many)
        filters.close()
        return len(tables()["bridge"]["sources"])

    with open_namespace() as namespace:
        assert namespace.run(steps) == len(many)


def test_an_error_says_what_and_where() -> None:
    def steps() -> None:
        library = Nftables()
        with pytest.raises(LinkFailed, match="No such file or directory") as caught:
            library.run("add rule bridge nowhere nothing drop")
        assert caught.value.where == "nftables: add rule bridge nowhere nothing drop"
        with pytest.raises(LinkFailed, match="syntax error"):
            library.run("add rulex")
        assert library.run("list ruleset") == ""
        library.close()

    with open_namespace() as namespace:
        namespace.run(steps)
