"""Network devices of this host, over netlink: bridges, and the ports of vifs in them. No program is ever executed.

All methods block, and are for a worker thread, one at a time. They raise `LinkFailed`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

from lightvm.daemon.xenstore.memory import MemoryStore
from lightvm.errors import LinkFailed

if TYPE_CHECKING:
    from pyroute2 import IPRoute

PORT_MAC = "fe:ff:ff:ff:ff:ff"
"""The host's end of a vif: so high that a bridge never takes it for its own address."""

ALL_BUT_PAUSE = 0xFFFD
"""Groups 01:80:c2:00:00:xx of a port's ``group_fwd_mask``; frames to the one that is left out are dropped anyway."""

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
DEVICES = Path("/sys/class/net")

DEVICE_SECONDS, LOOK_SECONDS = 10.0, 0.005
"""Netback says that it knows of a vif just before it makes the device."""

IFF_UP, IFF_NOARP, IFF_MULTICAST = 0x1, 0x80, 0x1000


class Links:
    """The host's network devices; the netlink socket is opened on first use."""

    def __init__(self, forwarding: Path = FORWARDING, devices: Path = DEVICES) -> None:
        self._forwarding = forwarding
        self._devices = devices
        self._socket: IPRoute | None = None

    @property
    def _netlink(self) -> IPRoute:
        if self._socket is None:
            from pyroute2 import IPRoute

            self._socket = IPRoute()
        return self._socket

    def close(self) -> None:
        """Close the netlink socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def index(self, name: str) -> int:
        """Return the number of a network device; raises `LinkFailed` where there is none."""
        found = self._find(name)
        if found is None:
            raise LinkFailed("no such network device", name)
        return found

    def _find(self, name: str) -> int | None:
        try:
            return int((self._devices / name / "ifindex").read_text())
        except OSError:
            return None

    def wait_for(self, name: str) -> None:
        """Wait for a device that is just being made; raises `LinkFailed`."""
        end = time.monotonic() + DEVICE_SECONDS
        while not self.has(name):
            if time.monotonic() > end:
                raise LinkFailed(f"no such network device after {DEVICE_SECONDS:g} s", name)
            time.sleep(LOOK_SECONDS)

    def ensure_bridge(self, name: str, address: IPv4Interface | None) -> None:
        """Make sure that there is a bridge; where an address is given, make it if need be, up and with that address."""
        with _failing("bridge", name):
            if self._find(name) is None:
                if address is None:
                    raise LinkFailed(
                        "there is no such bridge, and no address to make one with", name
                    )
                # In one step. The rest is made good for by the next start, where this one is killed.
                self._netlink.link(
                    "add", ifname=name, kind="bridge", br_stp_state=0, br_forward_delay=0
                )
            if not (self._devices / name / "bridge").exists():
                raise LinkFailed("this is not a bridge", name)
            if address is not None:
                index = self.index(name)
                if not self._has_address(index, address):
                    self._netlink.addr(
                        "add",
                        index=index,
                        address=str(address.ip),
                        prefixlen=address.network.prefixlen,
                    )
                self._netlink.link("set", index=index, state="up")

    def _has_address(self, index: int, address: IPv4Interface) -> bool:
        """Whether a device has an address: one that came by DHCP would else be made to last for ever."""
        return any(
            found["prefixlen"] == address.network.prefixlen
            and found.get_attr("IFA_LOCAL") == str(address.ip)
            for found in self._netlink.get_addr(index=index, family=socket.AF_INET)
        )

    def forward_ipv4(self) -> None:
        """Make sure that this host forwards IPv4 packets."""
        try:
            if self._forwarding.read_text().strip() != "1":
                self._forwarding.write_text("1\n")
        except OSError as exc:
            raise LinkFailed(
                f"IPv4 forwarding cannot be switched on: {exc.strerror}", str(self._forwarding)
            ) from exc

    def has(self, name: str) -> bool:
        """Whether there is such a device: its directory alone comes before all that is in it (``device_add``)."""
        return self._find(name) is not None

    def count_ports(self, bridge: str) -> int:
        """Return how many ports a bridge has."""
        try:
            return sum(1 for _ in (self._devices / bridge / "brif").iterdir())
        except OSError:
            return 0

    def count_sent(self, name: str) -> int | None:
        """Return how many packets a vif's guest has sent: those that the host's end has received."""
        try:
            return int((self._devices / name / "statistics/rx_packets").read_text())
        except OSError:
            return None

    def add_port(self, name: str, bridge: str, mtu: int, *, guarded: bool = False) -> None:
        """Put a device into its bridge, and up; one that is guarded is up when nothing passes nftables by."""
        with _failing("add port", name):
            index = self.index(name)
            up = 0 if guarded else IFF_UP
            self._netlink.link(  # in one step: Linux does all of this in the order in which it makes sense
                "set",
                index=index,
                address=PORT_MAC,
                mtu=mtu,
                master=self.index(bridge),
                flags=IFF_NOARP | up,
                change=IFF_NOARP | IFF_MULTICAST | up,
            )
            if guarded:
                self.hook_all(name)
                self._netlink.link("set", index=index, state="up")

    def hook_all(self, name: str) -> None:
        """Let nothing that comes in by a port pass nftables by.

        A bridge takes frames to 01:80:c2:00:00:xx in by itself: it learns from their source, and its host's IP stack
        gets them, whoever they are from (``br_handle_frame``). Those that it forwards take the common way.
        """
        with _failing("port", name):
            self._netlink.brport("set", index=self.index(name), group_fwd_mask=ALL_BUT_PAUSE)


@contextmanager
def _failing(what: str, name: str) -> Iterator[None]:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except (NetlinkError, OSError) as exc:
        raise LinkFailed(f"{what}: {exc}", name) from exc


class MemoryPorts:
    """Bridges and ports in memory, for tests and for the in-memory daemon; `broken` makes it raise.

    Vifs come and go with their back-ends in a store.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.bridges: dict[str, IPv4Interface | None] = {}
        self.others: dict[str, int] = {}
        """How many ports of others each bridge has."""
        self.hooked: set[str] = set()
        """Ports that nothing comes in by without nftables' knowledge."""
        self.lingering: set[str] = set()
        """Devices that do not go with their back-end."""
        self.sent: dict[str, int] = {}
        """How many packets the guest of each vif has sent."""
        self.forwarding = False
        self.broken = False
        self._store = store
        self._added: dict[str, str] = {}

    @property
    def ports(self) -> dict[str, str]:
        """Bridge by port."""
        return {port: bridge for port, bridge in self._added.items() if self._is_there(port)}

    def _is_there(self, vif: str) -> bool:
        path = f"/local/domain/0/backend/vif/{vif.removeprefix('vif').replace('.', '/')}/state"
        return path in self._store.nodes

    def _check(self) -> None:
        if self.broken:
            raise LinkFailed("injected")

    def ensure_bridge(self, name: str, address: IPv4Interface | None) -> None:
        """Note a bridge."""
        self._check()
        self.bridges[name] = address

    def add_port(self, name: str, bridge: str, mtu: int, *, guarded: bool = False) -> None:
        """Note a port."""
        self.wait_for(name)
        if guarded:
            self.hooked.add(name)
        self._added[name] = bridge

    def hook_all(self, name: str) -> None:
        """Note it."""
        self._check()
        self.hooked.add(name)

    def wait_for(self, name: str) -> None:
        """Raise where a vif has no back-end."""
        self._check()
        if name.startswith("vif") and not self._is_there(name):
            raise LinkFailed("no such network device", name)

    def count_ports(self, bridge: str) -> int:
        """Return how many ports a bridge has, those of others too."""
        self._check()
        return self.others.get(bridge, 0) + list(self.ports.values()).count(bridge)

    def count_sent(self, name: str) -> int | None:
        """Return what a test has set, 0 else."""
        return self.sent.get(name, 0) if self._is_there(name) else None

    def has(self, name: str) -> bool:
        """Whether a vif has its back-end, or lingers."""
        return name in self.lingering or self._is_there(name)

    def forward_ipv4(self) -> None:
        """Note it."""
        self._check()
        self.forwarding = True
