"""What netback is told of a vif.

``feature-rx-notify`` is left out on purpose. It would make netback take the carrier from a vif whose guest does not
read for a minute, as that of a shell does; without it, what nobody has read after 30 ms is dropped, and the vif goes on
(``read_xenbus_vif_flags`` in Linux' netback). Our guests notify all the same.
"""

from __future__ import annotations

from lightvm.daemon.backends import NO_SCRIPT, Device
from lightvm.model import Vif
from lightvm.xen.device_page import vif_refs

PLACEHOLDER_MAC = "fe:ff:ff:ff:ff:ff"
"""Netback uses none, and the guest's own is not known yet."""


def describe_vif(index: int, port: int) -> Device:
    """Return a vif for XenStore; `port` is the guest's event channel."""
    transmit, receive = vif_refs(index)
    return Device(
        kind="vif",
        number=index,
        front={
            "tx-ring-ref": str(transmit),
            "rx-ring-ref": str(receive),
            "event-channel": str(port),
            "request-rx-copy": "1",
            "feature-no-csum-offload": "1",
        },
        back={
            "handle": str(index),
            "mac": PLACEHOLDER_MAC,
            "script": NO_SCRIPT,
            "hotplug-status": "connected",  # in its bridge, which it is before it is connected
        },
    )


def describe_free_vif(index: int, vif: Vif | None, bridge: str, mtu: int) -> Device:
    """Return a vif for XenStore whose rings its guest makes; without addresses where they are not known yet."""
    addresses = {"mac": PLACEHOLDER_MAC} if vif is None else describe_addresses(vif)
    return Device(
        kind="vif",
        number=index,
        front={"handle": str(index), "mac": addresses["mac"]},
        back={"handle": str(index), **addresses, "bridge": bridge, "type": "vif"},
        fixed={"mtu": str(mtu)},
    )


def describe_addresses(vif: Vif) -> dict[str, str]:
    """Return what a vif's back-end is told of its addresses; its guest is told the MAC only."""
    if vif.ipv4 is None:
        return {"mac": vif.mac}
    return {"mac": vif.mac, "ip": vif.ipv4.partition("/")[0]}


def port_name(domid: int, index: int) -> str:
    """Return the name that netback gives a vif's network device."""
    return f"vif{domid}.{index}"
