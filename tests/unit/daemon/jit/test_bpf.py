"""The filter of a service, run as the kernel would."""

from __future__ import annotations

import pytest

from lightvm.daemon.jit import bpf
from lightvm.daemon.jit.bpf import MOST_RANGES, make_program, pack_program
from lightvm.daemon.net.addresses import merge_ranges
from tests.unit.daemon.jit.samples import arp, ethernet, ipv4, number

RANGES = [
    range(number("10.77.0.17"), number("10.77.0.20") + 1),
    range(number("10.77.0.99"), number("10.77.0.99") + 1),
]


def passes(frame: bytes, ranges: list[range] = RANGES, *, tagged: bool = False) -> bool:
    """Interpret a program; a load beyond the frame ends it, as in the kernel."""
    program, at, held = make_program(ranges), 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == bpf.RETURN:
            return value != 0
        if code == bpf.JUMP:
            at += value
        elif code in (bpf.JUMP_EQUAL, bpf.JUMP_GREATER, bpf.JUMP_NOT_LESS):
            hit = {
                bpf.JUMP_EQUAL: held == value,
                bpf.JUMP_GREATER: held > value,
                bpf.JUMP_NOT_LESS: held >= value,
            }[code]
            at += if_true if hit else if_false
        elif value == bpf.VLAN_TAG_PRESENT:
            held = tagged
        else:
            size = {bpf.LOAD_WORD: 4, bpf.LOAD_HALF: 2}[code]
            if value + size > len(frame):
                return False
            held = int.from_bytes(frame[value : value + size])


@pytest.mark.parametrize("target", ["10.77.0.17", "10.77.0.20", "10.77.0.99"])
def test_what_is_for_the_ranges_passes(target: str) -> None:
    assert passes(arp(target))
    assert passes(ipv4(target))


@pytest.mark.parametrize("target", ["10.77.0.16", "10.77.0.21", "10.77.0.100", "255.255.255.255"])
def test_what_is_for_others_does_not(target: str) -> None:
    assert not passes(arp(target))
    assert not passes(ipv4(target))


def test_nothing_else_passes() -> None:
    assert not passes(arp("10.77.0.17", operation=2))
    assert not passes(ethernet(0x86DD, bytes(60), to=bytes(6)))
    assert not passes(arp("10.77.0.17"), tagged=True)
    assert not passes(arp("10.77.0.17"), [])


@pytest.mark.parametrize("frame", [arp("10.77.0.17"), ipv4("10.77.0.17")])
def test_a_frame_that_is_cut_off_does_not_pass(frame: bytes) -> None:
    needed = 42 if frame == arp("10.77.0.17") else 34
    for length in range(needed):
        assert not passes(frame[:length])


def test_the_longest_program_reaches_its_last_range() -> None:
    ranges = [
        range(2 * n, 2 * n + 1)
        for n in range(number("10.0.0.0") // 2, number("10.0.0.0") // 2 + MOST_RANGES)
    ]
    assert passes(ipv4(f"10.0.1.{2 * MOST_RANGES - 2 - 256}"), ranges)
    assert len(pack_program(make_program(ranges))) == 8 * (14 + 3 * MOST_RANGES)


def test_ranges_are_merged() -> None:
    assert merge_ranges([range(5, 9), range(1, 3), range(3, 4), range(6, 7), range(8, 10)]) == [
        range(1, 4),
        range(5, 10),
    ]
