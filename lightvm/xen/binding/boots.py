"""What is copied into a shell, as the engine has it (`struct lvm_boot` of ``native/src/lvm.h``)."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from lightvm.xen._native import ffi
from lightvm.xen.device_page import VBD_CONFIG, VIF_CONFIG
from lightvm.xen.hypervisor import Boot
from lightvm.xen.image import Image


class DescribedBoot(NamedTuple):
    """A boot of the engine, and the segments it points to: whoever uses the one keeps those, and the `Boot` itself."""

    native: Any
    alive: list[Any]


class Boots:
    """Describes boots to the engine; an image without modules once, and not once per create."""

    def __init__(self) -> None:
        self._of_image: WeakKeyDictionary[Image, DescribedBoot] = WeakKeyDictionary()

    def describe(self, boot: Boot, *, watched: bool) -> DescribedBoot:
        """Describe a boot; without modules it is the image's, and good until the next boot of that."""
        described = None if boot.modules else self._of_image.get(boot.image)
        if described is None:
            described = _describe_segments(boot)
            if not boot.modules:
                self._of_image[boot.image] = described
        native = described.native
        native.cmdline = ffi.from_buffer(boot.cmdline)
        native.cmdline_len = len(boot.cmdline)
        native.watched = watched
        native.name = ffi.from_buffer(boot.name)
        native.name_len = len(boot.name)
        native.metadata_len = len(boot.metadata)
        if boot.metadata:
            native.metadata = ffi.from_buffer("uint8_t[]", boot.metadata)
        native.nr_vifs = len(boot.vifs) // VIF_CONFIG.size
        if boot.vifs:
            native.vifs = ffi.from_buffer("struct lvm_vif_config[]", boot.vifs)
        native.nr_vbds = len(boot.vbds) // VBD_CONFIG.size
        if boot.vbds:
            native.vbds = ffi.from_buffer("struct lvm_vbd_config[]", boot.vbds)
        return described


def _describe_segments(boot: Boot) -> DescribedBoot:
    segments = (*boot.image.segments, *boot.modules)
    array = ffi.new("struct lvm_segment[]", len(segments))
    alive: list[Any] = [array]
    for entry, segment in zip(array, segments, strict=True):
        data = ffi.from_buffer(segment.data)
        alive.append(data)
        entry.paddr = segment.paddr
        entry.memsz = segment.memsz
        entry.filesz = len(segment.data)
        entry.data = ffi.cast("const uint8_t *", data)
    native = ffi.new("struct lvm_boot *")
    native.entry = boot.image.entry
    native.nr_segments = len(segments)
    native.nr_modules = len(boot.modules)
    native.segments = array
    native.announce_device_page = boot.image.device_page
    return DescribedBoot(native, alive)
