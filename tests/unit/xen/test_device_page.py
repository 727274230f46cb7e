"""What the toolstack writes into the device page, against the header that guests are held to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest

from lightvm.xen import device_page
from lightvm.xen.device_page import (
    VBD_CONFIG,
    VIF_CONFIG,
    VbdConfig,
    VifConfig,
    vbd_ref,
    vif_refs,
)
from tests.layouts import constants, layout, macro

FULL = VifConfig(
    mac=bytes([2, 1, 2, 3, 4, 5]),
    mtu=0x1234,
    ipv4=IPv4Interface("10.1.2.3/17"),
    ipv4_gateway=IPv4Address("10.1.2.1"),
    dns=(IPv4Address("9.9.9.9"), IPv4Address("8.8.8.8"), IPv4Address("7.7.7.7")),
    ipv6=IPv6Interface("fd00::3/64"),
    ipv6_gateway=IPv6Address("fd00::1"),
)


def fields(struct: str, packed: bytes) -> dict[str, bytes]:
    """Return the bytes of each field."""
    return {field: packed[at : at + size] for field, (at, size) in layout(struct).items()}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (device_page.VIFS_MAX, "LVM_VIFS_MAX"),
        (device_page.VBDS_MAX, "LVM_VBDS_MAX"),
        (device_page.FIRST_REF, "LVM_FIRST_REF"),
        (device_page.NAME_MAX + 1, "LVM_NAME_SIZE"),
        (device_page.METADATA_MAX, "LVM_PAGE_SIZE"),
        (device_page.VBD_READ_ONLY, "LVM_VBD_READ_ONLY"),
        (device_page.VBD_FLUSH, "LVM_VBD_FLUSH"),
        (device_page.VBD_DISCARD, "LVM_VBD_DISCARD"),
    ],
)
def test_constants_are_those_of_the_header(ours: int, theirs: str) -> None:
    assert ours == constants()[theirs]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(VIF_CONFIG.size, "lvm_vif_config"), (VBD_CONFIG.size, "lvm_vbd_config")],
)
def test_structs_have_the_size_of_the_header_s(ours: int, theirs: str) -> None:
    assert ours == sum(size for _, size in layout(theirs).values())


def test_every_field_of_a_vif_stands_where_the_header_says() -> None:
    assert fields("lvm_vif_config", FULL.pack()) == {
        "mac": bytes([2, 1, 2, 3, 4, 5]),
        "mtu": b"\x34\x12",
        "ipv4": bytes([10, 1, 2, 3]),
        "ipv4_gateway": bytes([10, 1, 2, 1]),
        "ipv4_dns": bytes([9, 9, 9, 9, 8, 8, 8, 8]),
        "ipv4_prefix": bytes([17]),
        "ipv6_prefix": bytes([64]),
        "reserved": bytes(6),
        "ipv6": IPv6Address("fd00::3").packed,
        "ipv6_gateway": IPv6Address("fd00::1").packed,
    }


def test_what_is_not_known_of_a_vif_is_zero() -> None:
    packed = VifConfig(mac=bytes([2, 1, 2, 3, 4, 5])).pack()
    assert not any(packed[8:])


def test_one_name_server_is_enough() -> None:
    packed = VifConfig(mac=bytes(6), dns=(IPv4Address("9.9.9.9"),)).pack()
    assert fields("lvm_vif_config", packed)["ipv4_dns"] == bytes([9, 9, 9, 9, 0, 0, 0, 0])


@pytest.mark.parametrize(("readonly", "flags"), [(True, b"\1\0\0\0"), (False, b"\6\0\0\0")])
def test_every_field_of_a_vbd_stands_where_the_header_says(readonly: bool, flags: bytes) -> None:
    assert fields("lvm_vbd_config", VbdConfig(sectors=0x1_0002, readonly=readonly).pack()) == {
        "sectors": b"\2\0\1\0\0\0\0\0",
        "sector_size": b"\0\2\0\0",
        "flags": flags,
    }


@pytest.mark.parametrize("index", [0, 1, 7])
def test_grant_references_are_those_of_the_header_s_rings(index: int) -> None:
    first = constants()["LVM_FIRST_REF"]
    transmit, receive = vif_refs(index)
    assert transmit == first + macro("LVM_VIF_TX_RING", index)
    assert receive == first + macro("LVM_VIF_RX_RING", index)
    assert vbd_ref(index) == first + macro("LVM_VBD_RING", index)


def test_no_two_rings_have_the_same_grant_reference() -> None:
    refs = [ref for index in range(device_page.VIFS_MAX) for ref in vif_refs(index)]
    refs += [vbd_ref(index) for index in range(device_page.VBDS_MAX)]
    assert refs == list(range(device_page.FIRST_REF, device_page.FIRST_REF + len(refs)))
