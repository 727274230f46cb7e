"""What the toolstack writes into a guest's device page when the shell is taken (``docs/device-page.md``).

The layout is that of ``native/src/lvm_layout.h``; a test compares the two.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import msgspec

NAME_MAX = 63
"""Longest name of a domain, in bytes."""

METADATA_MAX = 4096
"""Most bytes for the guest's program."""

VIFS_MAX = 8
"""Most vifs of a domain."""

VBDS_MAX = 8
"""Most vbds of a domain."""

FIRST_REF = 8
"""Grant reference of the first ring: transmit and receive of each vif, then one of each vbd."""

CONSOLE_GFN = 0xFF000
STORE_GFN = CONSOLE_GFN + 16 + 2 * VIFS_MAX + VBDS_MAX
"""Pages of the console, and of the connection to xenstored."""

VIF_CONFIG = struct.Struct("<6sH4s4s4s4sBB6x16s16s")
"""``struct lvm_vif_config``."""

VBD_CONFIG = struct.Struct("<QII")
"""``struct lvm_vbd_config``."""

VBD_READ_ONLY, VBD_FLUSH, VBD_DISCARD = 1, 2, 4


def vif_refs(index: int) -> tuple[int, int]:
    """Return the grant references of a vif's transmit and receive rings."""
    return FIRST_REF + 2 * index, FIRST_REF + 2 * index + 1


def vbd_ref(index: int) -> int:
    """Return the grant reference of a vbd's ring."""
    return FIRST_REF + 2 * VIFS_MAX + index


class VifConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How a guest is to set one of its network devices up; what is None it may find out by itself."""

    mac: bytes
    mtu: int = 1500
    ipv4: IPv4Interface | None = None
    ipv4_gateway: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    ipv6: IPv6Interface | None = None
    ipv6_gateway: IPv6Address | None = None

    def pack(self) -> bytes:
        """Return it as the guest reads it; of `dns`, the first two."""
        dns = [address.packed for address in self.dns[:2]]
        return VIF_CONFIG.pack(
            self.mac,
            self.mtu,
            self.ipv4.packed if self.ipv4 else b"",
            self.ipv4_gateway.packed if self.ipv4_gateway else b"",
            dns[0] if dns else b"",
            dns[1] if len(dns) > 1 else b"",
            self.ipv4.network.prefixlen if self.ipv4 else 0,
            self.ipv6.network.prefixlen if self.ipv6 else 0,
            self.ipv6.packed if self.ipv6 else b"",
            self.ipv6_gateway.packed if self.ipv6_gateway else b"",
        )


class VbdConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest is to know of one of its disks; `sectors` are of 512 bytes."""

    sectors: int
    readonly: bool = False

    def pack(self) -> bytes:
        """Return it as the guest reads it."""
        flags = VBD_READ_ONLY if self.readonly else VBD_FLUSH | VBD_DISCARD
        return VBD_CONFIG.pack(self.sectors, 512, flags)
