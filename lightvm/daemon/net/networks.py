"""The networks of the configuration at work: who gets which addresses, and which vif is in which bridge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

import msgspec

from lightvm.daemon.config import Config, NetworkSection
from lightvm.daemon.net.addresses import AddressPool, MacPool, parse_ranges
from lightvm.errors import BadRequest, NoSuchNetwork
from lightvm.model import NetRequest, Vif
from lightvm.xen.device_page import VifConfig


class Ports(Protocol):
    """The host's network devices, as far as they are needed here; `lightvm.daemon.net.links.Links` has them."""

    def ensure_bridge(self, name: str, address: IPv4Interface | None) -> None:
        """Make sure that there is a bridge."""
        ...

    def add_port(self, name: str, bridge: str, mtu: int) -> None:
        """Put a device into its bridge."""
        ...


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of one create: as callers see them, and packed for the device page."""

    vifs: tuple[Vif, ...] = ()
    packed: bytes = b""


NOTHING = Assignment()


class Network:
    """One network of the configuration."""

    def __init__(self, name: str, section: NetworkSection, where: str) -> None:
        self.name = name
        self.bridge = section.bridge
        self.mtu = section.mtu
        self.address = IPv4Interface(section.address) if section.address else None
        self.pool: AddressPool | None = None
        gateway = None
        if self.address is not None:
            own = self.address.network
            ranges = parse_ranges(section.ranges or (str(own),), own, where)
            gateway = IPv4Address(section.gateway) if section.gateway else self.address.ip
            self.pool = AddressPool(own, ranges, {int(self.address.ip), int(gateway)})
        self._prefix = 0 if self.address is None else self.address.network.prefixlen
        template = VifConfig(
            mac=bytes(6),
            mtu=self.mtu,
            ipv4=self.address,
            ipv4_gateway=gateway,
            dns=tuple(map(IPv4Address, section.dns)),
        ).pack()
        self._before, self._after = template[6:8], template[12:]

    def pack(self, mac: bytes, ipv4: int | None) -> bytes:
        """Return a domain's part of the device page."""
        if ipv4 is None:
            return mac + self._before + bytes(56)
        return mac + self._before + ipv4.to_bytes(4) + self._after

    def describe(self, mac: bytes, ipv4: int | None) -> Vif:
        """Return the addresses as callers see them."""
        return Vif(
            network=self.name,
            mac=mac.hex(":"),
            ipv4=None if ipv4 is None else f"{IPv4Address(ipv4)}/{self._prefix}",
        )


class Networks:
    """All networks."""

    def __init__(self, config: Config, ports: Ports) -> None:
        self._ports = ports
        self._networks = {
            name: Network(name, section, f"networks.{name}")
            for name, section in config.networks.items()
        }
        self._macs = MacPool()

    def __iter__(self) -> Iterator[Network]:
        return iter(self._networks.values())

    def __getitem__(self, name: str) -> Network:
        try:
            return self._networks[name]
        except KeyError:
            raise NoSuchNetwork("the configuration has no such network", name) from None

    # Addresses

    def assign(self, wanted: Sequence[NetRequest]) -> Assignment:
        """Hand out addresses for one domain, all or none.

        Raises `NoSuchNetwork`, `OutOfAddresses`, `AddressTaken` and `BadRequest`.
        """
        if not wanted:
            return NOTHING
        vifs: list[Vif] = []
        packed = b""
        try:
            for index, request in enumerate(wanted):
                network = self[request.network]
                mac = self._take_mac(request, index)
                try:
                    ipv4 = _take_ipv4(network, request, index)
                except BaseException:
                    self._macs.taken.discard(mac)
                    raise
                vifs.append(network.describe(mac, ipv4))
                packed += network.pack(mac, ipv4)
        except BaseException:
            self.release(vifs)
            raise
        return Assignment(vifs=tuple(vifs), packed=packed)

    def _take_mac(self, request: NetRequest, index: int) -> bytes:
        if request.mac is None:
            return self._macs.take()
        return self._macs.claim(
            bytes.fromhex(request.mac.replace(":", "")), f"request.nets[{index}].mac"
        )

    def release(self, vifs: Sequence[Vif]) -> None:
        """Take addresses back."""
        for taken, address in self._taken(vifs):
            taken.discard(address)

    def keep(self, vifs: Sequence[Vif]) -> None:
        """Note the addresses of a domain that was adopted."""
        for taken, address in self._taken(vifs):
            taken.add(address)

    def _taken(self, vifs: Sequence[Vif]) -> Iterator[tuple[set[object], object]]:
        """Return the addresses of these vifs, each with the set where it stands while it is taken."""
        for vif in vifs:
            yield self._macs.taken, bytes.fromhex(vif.mac.replace(":", ""))
            network = self._networks.get(vif.network)
            if network is not None and network.pool is not None and vif.ipv4 is not None:
                yield network.pool.taken, int(IPv4Interface(vif.ipv4).ip)

    # Ports. These block, and are for a worker thread.

    def ensure_bridges(self) -> None:
        """Make sure that all bridges are there; raises `LinkFailed`."""
        for network in self:
            self._ports.ensure_bridge(network.bridge, network.address)

    def add_port(self, name: str, device: str) -> None:
        """Put a vif's device into the bridge of a network; raises `LinkFailed`."""
        network = self[name]
        self._ports.add_port(device, network.bridge, network.mtu)


def _take_ipv4(network: Network, request: NetRequest, index: int) -> int | None:
    where = f"request.nets[{index}].ipv4"
    if network.pool is None:
        if request.ipv4 is not None:
            raise BadRequest(f"the network {network.name} has no IPv4 addresses", where)
        return None
    if request.ipv4 is None:
        return network.pool.take(network.name)
    return network.pool.claim(int(IPv4Address(request.ipv4)), where)
