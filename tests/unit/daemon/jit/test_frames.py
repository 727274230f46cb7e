"""Frames, read with care."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightvm.daemon.jit.frames import Request, mac_of, read_request, skip_repeats
from tests.unit.daemon.jit.samples import (
    ACK,
    CALLER,
    FIN,
    RST,
    SYN,
    arp,
    ipv4,
    number,
    segment,
)

TARGET = "10.77.0.17"
MAC = bytes.fromhex("024c0a4d0011")


def test_the_mac_address_says_the_ipv4_address() -> None:
    assert mac_of(number(TARGET)) == MAC


@pytest.mark.parametrize(
    "frame", [arp(TARGET), arp(TARGET, to=MAC), ipv4(TARGET), ipv4(TARGET, b"data") + bytes(9)]
)
def test_a_request_says_for_whom_it_is(frame: bytes) -> None:
    request = read_request(frame)
    assert request is not None
    assert (request.address, request.sender) == (number(TARGET), CALLER)


@pytest.mark.parametrize(
    "frame",
    [
        arp(TARGET, operation=2),
        arp(TARGET, asks=TARGET),
        arp(TARGET, to=CALLER),
        arp(TARGET, sender=b"\x01" + CALLER[1:]),
        arp(TARGET)[:14] + b"\0\6" + arp(TARGET)[16:],
        ipv4(TARGET, to=CALLER),
        ipv4(TARGET, to=b"\xff" * 6),
        ipv4(TARGET)[:14] + b"\x65" + ipv4(TARGET)[15:],
        ipv4(TARGET)[:14] + b"\x44" + ipv4(TARGET)[15:],
        ipv4(TARGET)[:14] + b"\x46" + ipv4(TARGET)[15:],
        ipv4(TARGET)[:16] + b"\0\x15" + ipv4(TARGET)[18:],
    ],
)
def test_all_else_is_none(frame: bytes) -> None:
    assert read_request(frame) is None


@pytest.mark.parametrize(
    ("frame", "farewell"),
    [
        (ipv4(TARGET, segment(SYN)), False),
        (ipv4(TARGET, segment(ACK)), False),
        (ipv4(TARGET, segment(FIN)), True),
        (ipv4(TARGET, segment(RST)), True),
        (ipv4(TARGET, segment(FIN)[:13]), False),
        (ipv4(TARGET, segment(FIN)[:14]), True),
        (ipv4(TARGET, segment(FIN), protocol=17), False),
        (ipv4(TARGET, segment(FIN), fragment=1), False),
        (ipv4(TARGET, segment(FIN), fragment=0x2000), True),
        (arp(TARGET), False),
    ],
)
def test_the_end_of_a_connection_is_told_from_all_else(frame: bytes, farewell: bool) -> None:
    request = read_request(frame)
    assert request is not None
    assert request.farewell == farewell


def test_who_asks_again_and_again_is_heard_once() -> None:
    other, data = arp("10.77.0.18"), ipv4(TARGET, b"data")
    heard = [arp(TARGET), data, arp(TARGET), other, data, arp(TARGET), b""]
    assert list(skip_repeats(heard)) == [arp(TARGET), data, other, data, b""]


@pytest.mark.parametrize("frame", [arp(TARGET), ipv4(TARGET, b"data")])
def test_what_is_cut_off_is_none(frame: bytes) -> None:
    assert all(read_request(frame[:length]) is None for length in range(len(frame)))


@given(st.binary(max_size=80))
def test_no_bytes_are_too_strange(rest: bytes) -> None:
    for kind in (b"\x08\x00", b"\x08\x06"):
        found = read_request(b"\xff" * 6 + CALLER + kind + rest)
        assert found is None or isinstance(found, Request)
