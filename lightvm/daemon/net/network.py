"""One network of the configuration: its bridge, its addresses, and how a vif's are written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import NamedTuple

from lightvm.daemon.config import NetworkSection
from lightvm.daemon.net.addresses import AddressPool, dotted, parse_ranges
from lightvm.daemon.net.filters import Nat
from lightvm.errors import BadRequest
from lightvm.model import NetRequest, Vif
from lightvm.xen.device_page import VifConfig


class Lease(NamedTuple):
    """The addresses of one vif: as callers see them, and packed for the device page."""

    vif: Vif
    packed: bytes


class Network:
    """One network of the configuration."""

    def __init__(self, name: str, section: NetworkSection, where: str) -> None:
        self.name = name
        self.bridge = section.bridge
        self.mtu = section.mtu
        self.antispoof = section.antispoof
        self.address = IPv4Interface(section.address) if section.address else None
        self.nat = Nat(self.bridge, self.address.network) if section.nat and self.address else None
        self.pool: AddressPool | None = None
        gateway = None
        if self.address is not None:
            own = self.address.network
            ranges = parse_ranges(section.ranges or (str(own),), own, where)
            gateway = IPv4Address(section.gateway) if section.gateway else self.address.ip
            self.pool = AddressPool(own, ranges, {int(self.address.ip)}, int(gateway))
        self.ahead: dict[str, Lease] = {}
        """What shells have, and no domain yet, by MAC address: it is taken back where somebody needs it."""
        self._prefix = 0 if self.address is None else self.address.network.prefixlen
        template = VifConfig(
            mac=bytes(6),
            mtu=self.mtu,
            ipv4=self.address,
            ipv4_gateway=gateway,
            dns=tuple(map(IPv4Address, section.dns)),
        ).pack()
        self._before, self._after = template[6:8], template[12:]

    def lease(self, mac: bytes, ipv4: int | None) -> Lease:
        """Return addresses as a lease."""
        return Lease(self.describe(mac, ipv4), self.pack(mac, ipv4))

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
            ipv4=None if ipv4 is None else f"{dotted(ipv4)}/{self._prefix}",
        )

    def take_ipv4(self, request: NetRequest, index: int, token: str | None) -> int | None:
        """Take the address that the vif of that index asks for, or any; None where the network has none to give.

        Raises `OutOfAddresses`, `AddressTaken` and `BadRequest`.
        """
        where = f"request.nets[{index}].ipv4"
        if self.pool is None:
            if request.ipv4 is not None:
                raise BadRequest(f"the network {self.name} has no IPv4 addresses", where)
            return None
        if request.ipv4 is None:
            return self.pool.take(self.name)
        return self.pool.claim(int(IPv4Address(request.ipv4)), where, token)
