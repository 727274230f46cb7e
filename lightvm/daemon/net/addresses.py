"""Who has which address: MAC and IPv4 addresses of the domains of each network.

IPv4 addresses are plain numbers here: this is part of the hot path.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from lightvm.errors import AddressTaken, BadConfig, OutOfAddresses

MAC_PREFIX = b"\x02\x4c"
"""Locally administered, and made of an IPv4 address."""

RANDOM_MAC_PREFIX = b"\x02\x16\x3e"
"""Locally administered; beside that bit Xen's own prefix, so that people recognise it."""


class AddressPool:
    """The IPv4 addresses of one network: handed out in turn, so that one that was given back rests for a while."""

    def __init__(
        self,
        network: IPv4Network,
        ranges: Iterable[range],
        reserved: set[int],
        gateway: int | None = None,
    ) -> None:
        """Hand out addresses of `ranges`, but never the `reserved` ones, and the `gateway` only by name."""
        self._network = network
        self._all = list(ranges)
        self._kept: dict[str, Sequence[range]] = {}
        """Addresses that are for the domains of one service only, by its name."""
        self._ranges = self._all
        self._size = sum(map(len, self._ranges))
        self._reserved = {
            int(network.network_address),
            int(network.broadcast_address),
            *reserved,
        }
        self._withheld: set[int | None] = {*self._reserved, gateway}
        self._next = 0
        self.taken: set[object] = set()
        """The addresses that domains have."""

    def take(self, network: str) -> int:
        """Return a free address; raises `OutOfAddresses`, with the name of the network in `where`."""
        for step in range(self._size):
            address = self._at((self._next + step) % self._size)
            if address not in self.taken and address not in self._withheld:
                self._next = (self._next + step + 1) % self._size
                self.taken.add(address)
                return address
        raise OutOfAddresses("the network has no free address", network)

    def claim(self, address: int, where: str, token: str | None = None) -> int:
        """Take just this address, which may lie outside of the ranges; raises `AddressTaken`.

        A service's address is only for him who has the service's `token` for it.
        """
        text = IPv4Address(address)
        if not self.may_have(address):
            raise AddressTaken(f"{text} is not for a domain of {self._network}", where)
        for service, ranges in self._kept.items():
            if holds(ranges, address) and token != service_token(service, address):
                raise AddressTaken(f"{text} is kept for the service {service}", where)
        if address in self.taken:
            raise AddressTaken(f"{text} is another domain's", where)
        self.taken.add(address)
        return address

    def may_have(self, address: int) -> bool:
        """Whether an address can be a domain's at all."""
        return IPv4Address(address) in self._network and address not in self._reserved

    def keep(self, service: str, ranges: Sequence[range]) -> None:
        """Keep addresses for a service's domains from now on; who has one of them keeps it."""
        self._kept[service] = ranges
        self._share_out()

    def let_go(self, service: str) -> None:
        """Keep nothing for a service any more."""
        self._kept.pop(service, None)
        self._share_out()

    def _share_out(self) -> None:
        """Hand out what is not kept, from where it was on."""
        following = self._at(self._next) if self._size else 0
        kept = sorted((part for parts in self._kept.values() for part in parts), key=_start)
        self._ranges = self._all
        for part in kept:
            self._ranges = [rest for whole in self._ranges for rest in subtract(whole, part)]
            if following in part:
                following = part.stop
        self._size = sum(map(len, self._ranges))
        self._next = self._number(following)

    def _number(self, address: int) -> int:
        """Return the place of an address in the order of handing out, the first where it has none."""
        before = 0
        for part in self._ranges:
            if address in part:
                return before + address - part.start
            before += len(part)
        return 0

    def _at(self, number: int) -> int:
        for part in self._ranges:
            if number < len(part):
                return part[number]
            number -= len(part)
        raise IndexError(number)


def mac_of(ipv4: int) -> bytes:
    """Return the MAC address that is made of an IPv4 address."""
    return MAC_PREFIX + ipv4.to_bytes(4)


def dotted(address: int) -> str:
    """Return an IPv4 address as text; for the hot path, where `IPv4Address` would be most of the work."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


class MacPool:
    """The MAC addresses of all domains of this host."""

    def __init__(self) -> None:
        self.taken: set[object] = set()

    def take(self, ipv4: int | None) -> bytes:
        """Return a locally administered address that no domain here has.

        It is made of the IPv4 address where that can be: who has spoken with one domain then reaches the next one at
        its address, and no two hosts of a network have the same.
        """
        mac = b"" if ipv4 is None else mac_of(ipv4)
        while not mac or mac in self.taken:
            mac = RANDOM_MAC_PREFIX + random.getrandbits(24).to_bytes(3)
        self.taken.add(mac)
        return mac

    def claim(self, mac: bytes, where: str) -> bytes:
        """Take just this address; raises `AddressTaken`."""
        if mac in self.taken:
            raise AddressTaken(f"{mac.hex(':')} is another domain's", where)
        self.taken.add(mac)
        return mac


def service_token(service: str, address: int) -> str:
    """Return the token of a service's domain, by which a later daemon knows it too."""
    return f"service:{service}:{IPv4Address(address)}"


def holds(ranges: Iterable[range], address: int) -> bool:
    """Whether an address lies in one of some ranges."""
    return any(address in part for part in ranges)


def _start(part: range) -> int:
    return part.start


def subtract(whole: range, part: range) -> list[range]:
    """Return what is left of one range without another, in order."""
    low = range(whole.start, min(whole.stop, part.start))
    high = range(max(whole.start, part.stop), whole.stop)
    return [rest for rest in (low, high) if rest] if part else [whole]


def merge_ranges(ranges: Iterable[range]) -> list[range]:
    """Return the same addresses in as few ranges as there can be, in order."""
    merged: list[range] = []
    for part in sorted(ranges, key=lambda part: part.start):
        if merged and part.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, part.stop))
        else:
            merged.append(part)
    return merged


def parse_ranges(texts: Iterable[str], network: IPv4Network, where: str) -> list[range]:
    """Return ranges such as ``10.0.0.2-10.0.0.99`` or ``10.0.0.128/25``; raises `BadConfig`."""
    ranges = []
    for text in texts:
        first, dash, last = text.partition("-")
        try:
            if dash:
                low, high = IPv4Address(first), IPv4Address(last)
            else:
                part = IPv4Network(first)
                low, high = part.network_address, part.broadcast_address
        except ValueError as exc:
            raise BadConfig(f"not a range of IPv4 addresses: {exc}", where) from exc
        if low > high or low not in network or high not in network:
            raise BadConfig(f"{text} does not lie in {network}", where)
        ranges.append(range(int(low), int(high) + 1))
    return ranges
