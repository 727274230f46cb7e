"""Network devices of this host, over netlink: bridges, and the ports of vifs in them. No program is ever executed.

All methods block, and are for a worker thread, one at a time. They raise `LinkFailed`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

from lightvm.daemon.xenstore import MemoryStore
from lightvm.errors import LinkFailed

if TYPE_CHECKING:
    from pyroute2 import IPRoute

PORT_MAC = "fe:ff:ff:ff:ff:ff"
"""The host's end of a vif: so high that a bridge never takes it for its own address."""

MAX_PORTS = 1023
"""A Linux bridge has no more (``BR_MAX_PORTS``)."""

DEVICE_SECONDS, LOOK_SECONDS = 10.0, 0.005
"""Netback says that it knows of a vif just before it makes the device."""

IFF_UP, IFF_NOARP, IFF_MULTICAST = 0x1, 0x80, 0x1000


class Links:
    """The host's network devices; the netlink socket is opened on first use."""

    def __init__(self) -> None:
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
            return int(Path(f"/sys/class/net/{name}/ifindex").read_text())
        except OSError:
            return None

    def _wait(self, name: str) -> int:
        """Return the number of a device that is just being made; raises `LinkFailed`."""
        end = time.monotonic() + DEVICE_SECONDS
        while (found := self._find(name)) is None:
            if time.monotonic() > end:
                raise LinkFailed(f"no such network device after {DEVICE_SECONDS:g} s", name)
            time.sleep(LOOK_SECONDS)
        return found

    def ensure_bridge(self, name: str, address: IPv4Interface | None) -> None:
        """Make sure that there is a bridge; where an address is given, make it if need be, up and with that address."""
        with _failing("bridge", name):
            if self._find(name) is None:
                if address is None:
                    raise LinkFailed(
                        "there is no such bridge, and no address to make one with", name
                    )
                self._netlink.link("add", ifname=name, kind="bridge", br_stp_state=0)
            if not Path(f"/sys/class/net/{name}/bridge").exists():
                raise LinkFailed("this is not a bridge", name)
            if address is not None:
                index = self.index(name)
                self._netlink.addr(
                    "replace",
                    index=index,
                    address=str(address.ip),
                    prefixlen=address.network.prefixlen,
                )
                self._netlink.link("set", index=index, state="up")

    def ports(self, bridge: str) -> int:
        """Return how many ports a bridge has."""
        try:
            return sum(1 for _ in Path(f"/sys/class/net/{bridge}/brif").iterdir())
        except OSError:
            return 0

    def add_port(self, name: str, bridge: str, mtu: int) -> None:
        """Put a vif into its bridge, and up."""
        if self.ports(bridge) >= MAX_PORTS:
            raise LinkFailed(f"the bridge is full: it has {MAX_PORTS} ports", bridge)
        with _failing("add port", name):
            index = self._wait(name)
            self._netlink.link(
                "set",
                index=index,
                address=PORT_MAC,
                mtu=mtu,
                flags=IFF_NOARP,
                change=IFF_NOARP | IFF_MULTICAST,
            )
            self._netlink.link("set", index=index, master=self.index(bridge))
            self._netlink.link("set", index=index, state="up")


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

    def add_port(self, name: str, bridge: str, mtu: int) -> None:
        """Note a port."""
        self._check()
        if not self._is_there(name):
            raise LinkFailed("no such network device", name)
        self._added[name] = bridge
