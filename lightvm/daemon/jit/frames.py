"""What a frame asks for, and of whom: read with care, since anybody in the network may have written it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lightvm.daemon.jit.bpf import ARP, IPV4
from lightvm.daemon.net.addresses import mac_of

HEADER = 14
_ETHERNET = struct.Struct(">6s6sH")
_ARP = struct.Struct(">HHBBH6sI6sI")
_IPV4 = struct.Struct(">BBHHHBBHII")
_ARP_KIND = ARP.to_bytes(2)
_ARP_REQUEST = (1, IPV4, 6, 4, 1)
TCP = 6
_OFFSET = 0x1FFF
_TCP_FLAGS = 13
_FIN, _RST = 1, 4
BROADCAST = b"\xff" * 6


class Request(NamedTuple):
    """A frame for an IPv4 address.

    `farewell` where it only ends what a domain would not know of: a TCP segment with FIN or RST.
    """

    address: int
    to: bytes
    sender: bytes
    farewell: bool = False


def read_request(frame: bytes) -> Request | None:
    """Return whom a frame is for, where it is an ARP request or an IPv4 packet as it should be.

    An announcement, by which somebody asks for his own address, is none.
    """
    if len(frame) < HEADER:
        return None
    to, sender, kind = _ETHERNET.unpack_from(frame)
    if sender[0] & 1:  # nobody's own
        return None
    address = None
    farewell = False
    if kind == ARP:
        address = _read_arp(frame)
    elif kind == IPV4:
        address = _read_ipv4(frame)
        farewell = address is not None and _is_farewell(frame)
    if address is None or not (to == mac_of(address) or (kind == ARP and to == BROADCAST)):
        return None
    return Request(address, to, sender, farewell)


def skip_repeats(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out those ARP requests that say the same as one before: who is not answered asks every second."""
    said = set()
    for frame in frames:
        if frame[12:HEADER] == _ARP_KIND:
            if frame in said:
                continue
            said.add(frame)
        yield frame


def _read_arp(frame: bytes) -> int | None:
    if len(frame) < HEADER + _ARP.size:
        return None
    *kinds, _, sender, _, target = _ARP.unpack_from(frame, HEADER)
    return None if tuple(kinds) != _ARP_REQUEST or sender == target else target


def _read_ipv4(frame: bytes) -> int | None:
    if len(frame) < HEADER + _IPV4.size:
        return None
    first, _, length, *_, target = _IPV4.unpack_from(frame, HEADER)
    words = first & 0xF
    if first >> 4 != 4 or words < 5 or not 4 * words <= length <= len(frame) - HEADER:
        return None
    return int(target)


def _is_farewell(frame: bytes) -> bool:
    """Whether an IPv4 packet is a TCP segment with FIN or RST; a piece that has not the header is none."""
    first, _, _, _, fragment, _, protocol, *_ = _IPV4.unpack_from(frame, HEADER)
    flags = HEADER + 4 * (first & 0xF) + _TCP_FLAGS
    return (
        protocol == TCP
        and not fragment & _OFFSET
        and flags < len(frame)
        and frame[flags] & (_FIN | _RST) != 0
    )
