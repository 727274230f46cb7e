"""Frames for the tests."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from lightvm.daemon.jit.frames import mac_of

CALLER = bytes.fromhex("0200000000aa")


FIN, SYN, RST, ACK = 0x11, 0x02, 0x04, 0x10
"""Flags of TCP; an end is acknowledgement too."""


def number(text: str) -> int:
    return int(IPv4Address(text))


def ethernet(kind: int, payload: bytes, *, to: bytes, sender: bytes = CALLER) -> bytes:
    return to + sender + kind.to_bytes(2) + payload


def arp(
    target: str,
    *,
    asks: str = "10.77.0.1",
    operation: int = 1,
    to: bytes = b"\xff" * 6,
    sender: bytes = CALLER,
) -> bytes:
    """Return an ARP message, by default a request."""
    payload = struct.pack(
        ">HHBBH6sI6sI", 1, 0x0800, 6, 4, operation, sender, number(asks), bytes(6), number(target)
    )
    return ethernet(0x0806, payload, to=to, sender=sender)


def ipv4(
    target: str,
    data: bytes = b"",
    *,
    to: bytes | None = None,
    protocol: int = 6,
    fragment: int = 0,
) -> bytes:
    """Return an IPv4 packet: a kernel looks at its checksum."""
    length, asks = 20 + len(data), number("10.77.0.1")
    header = struct.pack(
        ">BBHHHBBHII", 0x45, 0, length, 0, fragment, 64, protocol, 0, asks, number(target)
    )
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + (0xFFFF - total).to_bytes(2) + header[12:]
    return ethernet(0x0800, header + data, to=to or mac_of(number(target)))


def segment(flags: int) -> bytes:
    """Return a TCP header, as far as anybody looks at it."""
    return bytes(12) + bytes([0x50, flags]) + bytes(6)
