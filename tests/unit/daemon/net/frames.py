"""Frames as a guest may send them, right and wrong ones."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

IPV4, ARP, IPV6, LLDP, SLOW = 0x0800, 0x0806, 0x86DD, 0x88CC, 0x8809
BROADCAST = "ff:ff:ff:ff:ff:ff"


def frame(
    source: str, kind: int, payload: bytes, *, target: str = BROADCAST, vlan: int | None = None
) -> bytes:
    """Return an Ethernet frame."""
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2)
    return _mac(target) + _mac(source) + tag + kind.to_bytes(2) + payload.ljust(46, b"\0")


def datagram(source: str, target: str, *, sport: int = 9, dport: int = 9) -> bytes:
    """Return an IPv4 packet with an empty UDP datagram."""
    head = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17])
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    words = head + ends
    total = sum(int.from_bytes(words[at : at + 2]) for at in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    packet = head + (0xFFFF - total).to_bytes(2) + ends
    return packet + sport.to_bytes(2) + dport.to_bytes(2) + bytes([0, 8, 0, 0])


def ipv6(source: str, target: str) -> bytes:
    """Return an IPv6 packet without content."""
    nothing_next = 59
    head = bytes([0x60, 0, 0, 0, 0, 0, nothing_next, 64])
    return head + IPv6Address(source).packed + IPv6Address(target).packed


def arp(mac: str, ipv4: str, *, asks_for: str) -> bytes:
    """Return an ARP request."""
    head = bytes([0, 1, 8, 0, 6, 4, 0, 1])
    return head + _mac(mac) + socket.inet_aton(ipv4) + bytes(6) + socket.inet_aton(asks_for)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
