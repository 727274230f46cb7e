"""What blkback is told."""

from __future__ import annotations

import pytest

from lightvm.daemon.disk.vbds import describe_free_vbd, describe_vbd


def test_blkback_is_told_ring_and_event_channel_of_the_guest() -> None:
    first, second = describe_vbd(0, 3, 10), describe_vbd(1, 4, 11)
    assert first.kind == "vbd"
    assert (first.front["ring-ref"], second.front["ring-ref"]) == ("24", "25")
    assert (first.front["event-channel"], second.front["event-channel"]) == ("3", "4")


@pytest.mark.parametrize(("index", "number", "name"), [(0, 51712, "xvda"), (7, 51824, "xvdh")])
def test_disks_are_numbered_and_named_by_xen_s_convention(
    index: int, number: int, name: str
) -> None:
    vbd = describe_vbd(index, 3, 10)
    assert vbd.number == number
    assert vbd.back["dev"] == name
    free = describe_free_vbd(index, 10, readonly=False)
    assert free.front["virtual-device"] == str(number)


def test_blkback_finds_the_loop_device_by_its_numbers() -> None:
    vbd = describe_vbd(0, 3, 0x1000A)
    assert (vbd.back["physical-device"], vbd.back["type"]) == ("7:1000a", "phy")
