"""Frames for the tests."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from lightvm.daemon.jit.frames import mac_of

CALLER = bytes.fromhex("0200000000aa")


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


def ipv4(target: str, data: bytes = b"", *, to: bytes | None = None) -> bytes:
    """Return an IPv4 packet: a kernel looks at its checksum."""
    header = struct.pack(
        ">BBHHHBBHII", 0x45, 0, 20 + len(data), 0, 0, 64, 6, 0, number("10.77.0.1"), number(target)
    )
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + (0xFFFF - total).to_bytes(2) + header[12:]
    return ethernet(0x0800, header + data, to=to or mac_of(number(target)))
