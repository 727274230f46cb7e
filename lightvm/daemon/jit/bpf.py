"""The classic BPF program that lets only frames for a service's addresses reach the daemon.

Linux' ``Documentation/networking/filter.rst`` is the source. Beyond its ranges, a program needs 13 instructions, and
3 for each range; the kernel takes 4096, but accounts each to the socket's ``optmem_max``, 20 KiB on Linux 6.1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

MOST_RANGES = 200

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_NOT_LESS = 0x05, 0x15, 0x25, 0x35
RETURN = 0x06

VLAN_TAG_PRESENT = 0xFFFF_F000 + 48
"""Where the kernel tells of a tag that it has taken out of the frame (``SKF_AD_OFF``, ``SKF_AD_VLAN_TAG_PRESENT``)."""

ARP, IPV4 = 0x0806, 0x0800
ACCEPT = 0x4_0000
"""Bytes of a frame that are passed on: all of it."""


class Instruction(NamedTuple):
    """``struct sock_filter``: jumps count from the instruction after."""

    code: int
    if_true: int
    if_false: int
    value: int


def make_program(ranges: Sequence[range]) -> list[Instruction]:
    """Return a program that passes ARP requests and IPv4 packets for these addresses, without a VLAN tag."""
    program = [
        Instruction(LOAD_WORD, 0, 0, VLAN_TAG_PRESENT),
        Instruction(JUMP_EQUAL, 1, 0, 0),
        Instruction(RETURN, 0, 0, 0),
        Instruction(LOAD_HALF, 0, 0, 12),
        Instruction(JUMP_EQUAL, 4, 0, ARP),
        Instruction(JUMP_EQUAL, 1, 0, IPV4),
        Instruction(RETURN, 0, 0, 0),
        Instruction(LOAD_WORD, 0, 0, 30),  # destination of the packet
        Instruction(JUMP, 0, 0, 4),
        Instruction(LOAD_HALF, 0, 0, 20),  # operation
        Instruction(JUMP_EQUAL, 1, 0, 1),
        Instruction(RETURN, 0, 0, 0),
        Instruction(LOAD_WORD, 0, 0, 38),  # whose MAC address is asked for
    ]
    for part in ranges:
        program += (
            Instruction(JUMP_NOT_LESS, 0, 2, part.start),
            Instruction(JUMP_GREATER, 1, 0, part.stop - 1),
            Instruction(RETURN, 0, 0, ACCEPT),
        )
    return [*program, Instruction(RETURN, 0, 0, 0)]


def pack_program(program: Sequence[Instruction]) -> bytes:
    """Return the instructions as the kernel has them in memory."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
