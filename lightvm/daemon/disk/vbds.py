"""What blkback is told of a vbd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightvm.daemon.backends import Device
from lightvm.daemon.disk.loops import physical_device
from lightvm.xen.device_page import vbd_ref
from lightvm.xen.hypervisor import Shape

XVDA = 202 << 8
"""Device number of the first disk by Xen's convention, and sixteen between two (``docs/misc/vbd-interface.txt``)."""


def describe_vbd(index: int, port: int, loop: int) -> Device:
    """Return a vbd for XenStore; `loop` is the number of its loop device."""
    vbd = _describe(index, loop)
    rings = {
        "ring-ref": str(vbd_ref(index)),
        "event-channel": str(port),
        "protocol": "x86_64-abi",
        "feature-persistent": "1",
    }
    return vbd._replace(front=rings)


def describe_free_vbd(index: int, loop: int, *, readonly: bool) -> Device:
    """Return a vbd for XenStore whose ring its guest makes, with all that libxl says of such."""
    vbd = _describe(index, loop)
    more = {
        "device-type": "disk",
        "node": f"/dev/loop{loop}",
        "physical-device-path": f"/dev/loop{loop}",
        "bootable": "1",
        "removable": "0",
        "discard-enable": "0" if readonly else "1",
        "specification": "xen",
        "mode": "r" if readonly else "w",  # here the guest is told by it
    }
    return vbd._replace(back={**vbd.back, **more})


def describe_free_vbds(shape: Shape, loops: Sequence[int]) -> Iterator[Device]:
    """Yield all vbds of a shell, for such a guest."""
    for index, loop in enumerate(loops):
        yield describe_free_vbd(index, loop, readonly=index in shape.readonly_vbds)


def _describe(index: int, loop: int) -> Device:
    number, physical = XVDA + 16 * index, physical_device(loop)
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
        },
    )
