"""What blkback is told of a vbd."""

from __future__ import annotations

from lightvm.daemon.backends import Device
from lightvm.xen.device_page import vbd_ref

XVDA = 202 << 8
"""Device number of the first disk by Xen's convention, and sixteen between two (``docs/misc/vbd-interface.txt``)."""


def describe_vbd(index: int, port: int, physical: str) -> Device:
    """Return a vbd for XenStore; `physical` is major and minor number of its loop device, in hexadecimal."""
    free = describe_free_vbd(index, physical)
    rings = {
        "ring-ref": str(vbd_ref(index)),
        "event-channel": str(port),
        "protocol": "x86_64-abi",
        "feature-persistent": "1",
    }
    return free._replace(front={**free.front, **rings})


def describe_free_vbd(index: int, physical: str) -> Device:
    """Return a vbd for XenStore whose ring its guest makes."""
    number = XVDA + 16 * index
    return Device(
        kind="vbd",
        number=number,
        front={"virtual-device": str(number), "device-type": "disk"},
        back={
            "physical-device": physical,
            "params": f"loop {physical}",
            "type": "phy",
            "mode": "w",  # a loop device without write permission refuses by itself
            "dev": f"xvd{chr(ord('a') + index)}",
            "device-type": "disk",
        },
    )
