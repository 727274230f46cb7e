"""A create request, checked: what is to be made, with every default filled in."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address

import msgspec
import trio

from lightvm.daemon.domains import check_name
from lightvm.daemon.images import read_file
from lightvm.daemon.scheduling import check_scheduling
from lightvm.daemon.shells import Pools, ShellPool
from lightvm.errors import BadImage, BadRequest
from lightvm.model import CreateRequest, Mode, NetRequest, WaitFor
from lightvm.xen.device_page import METADATA_MAX, VBDS_MAX, VIFS_MAX
from lightvm.xen.hypervisor import Shape
from lightvm.xen.image import CMDLINE_MAX, MODULES_MAX, Image, Segment, check_fits, place_modules

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")

MAX_TOKEN = 128
MAX_TIMEOUT_MS = 24 * 3600 * 1000
MAX_MEMORY_KIB = 1 << 34
MAX_VCPUS = 128
DEFAULT_KIB = {Mode.NOXS: 4096, Mode.XENSTORE: 262144}
"""Memory of a guest that nobody has said the size of."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a create is to make: a checked request, and what it leaves open.

    `pool` is None where no flavor has that shape, or no shell is wanted.
    """

    request: CreateRequest
    flavor: str
    pool: ShellPool | None
    shape: Shape
    nets: tuple[NetRequest, ...]

    async def place_modules(self, image: Image, module_bytes: int) -> tuple[Segment, ...]:
        """Read the modules, each of at most so many bytes, and find places for them; raises `BadImage`."""
        contents = []
        for path in self.request.modules or ():
            _, content = await trio.to_thread.run_sync(read_file, path, module_bytes)
            if not content:
                raise BadImage("the module is empty", path)
            contents.append((path, content))
        return place_modules(image, tuple(contents), self.shape.memory_kib * 1024)


def check_request(request: CreateRequest) -> None:
    """Check what of a request can be wrong by itself; raises `BadRequest` with the field in `where`."""
    if not request.image.startswith("/") or "\0" in request.image:
        raise BadRequest("must be an absolute path", "request.image")
    if request.name is not None:
        check_name(request.name)
    cmdline = request.cmdline
    if cmdline and (len(cmdline.encode()) > CMDLINE_MAX or "\0" in cmdline):
        raise BadRequest(f"at most {CMDLINE_MAX} bytes without NUL", "request.cmdline")
    memory, vcpus = request.memory_kib, request.vcpus
    if memory is not None and (not 1024 <= memory <= MAX_MEMORY_KIB or memory % 4):
        raise BadRequest(f"a multiple of 4 from 1024 to {MAX_MEMORY_KIB} KiB", "request.memory_kib")
    if vcpus is not None and not 1 <= vcpus <= MAX_VCPUS:
        raise BadRequest(f"1 to {MAX_VCPUS}", "request.vcpus")
    for index, net in enumerate(request.nets or ()):
        if net.mac is not None or net.ipv4 is not None:
            _check_net(net, f"request.nets[{index}]")
    for index, disk in enumerate(request.disks or ()):
        if not disk.path.startswith("/") or "\0" in disk.path:
            raise BadRequest("must be an absolute path", f"request.disks[{index}].path")
    if request.metadata and len(request.metadata) > METADATA_MAX:
        raise BadRequest(f"at most {METADATA_MAX} bytes", "request.metadata")
    if request.modules and len(request.modules) > MODULES_MAX:
        raise BadRequest(f"at most {MODULES_MAX} modules", "request.modules")
    if request.wait is WaitFor.EXITED:
        raise BadRequest("a create can wait for running or ready", "request.wait")
    if request.paused and request.wait is not None:
        raise BadRequest("a paused guest does not get that far", "request.wait")
    check_scheduling(request)
    timeout = request.timeout_ms
    if timeout is not None and not 0 < timeout <= MAX_TIMEOUT_MS:
        raise BadRequest(f"1 to {MAX_TIMEOUT_MS} ms", "request.timeout_ms")
    if timeout is not None and request.wait is None:
        raise BadRequest("goes with `wait` only, which it bounds", "request.timeout_ms")
    if request.token is not None and not 0 < len(request.token) <= MAX_TOKEN:
        raise BadRequest(f"1 to {MAX_TOKEN} characters", "request.token")


def make_wish(request: CreateRequest, image: Image, pools: Pools) -> Wish:
    """Return what a checked request asks for, with every default filled in; its pool's shells to come fit the image.

    Raises `BadRequest` with the field in `where`, `NoSuchFlavor`, and `BadImage` where the image is too large.
    """
    if request.wait is WaitFor.READY and not image.device_page:
        raise BadRequest("this guest has no way to say that it is ready", "request.wait")
    pool, shape, flavor, nets = _choose(request, image, pools)
    check_fits(image, shape.memory_kib * 1024)
    if shape.xenstore and request.disks:
        readonly = frozenset(i for i, disk in enumerate(request.disks) if disk.readonly)
        if readonly:  # its back-end tells the guest, and looks only once
            pool, shape = None, replace(shape, readonly_vbds=readonly)
    if request.cold:
        pool = None
    if pool is not None:
        pool.fit_window(image.end)
        shape = pool.shape
    return Wish(
        request=request,
        flavor=flavor,
        pool=pool,
        shape=shape,
        nets=nets,
    )


def _check_net(net: NetRequest, where: str) -> None:
    if net.mac is not None:
        if not _MAC.fullmatch(net.mac):
            raise BadRequest("six pairs of hexadecimal digits with colons", f"{where}.mac")
        if int(net.mac[:2], 16) & 1:
            raise BadRequest("a multicast address is nobody's own", f"{where}.mac")
    if net.ipv4 is not None:
        try:
            IPv4Address(net.ipv4)
        except ValueError as exc:
            raise BadRequest(f"not an IPv4 address: {exc}", f"{where}.ipv4") from None


def _choose(
    request: CreateRequest, image: Image, pools: Pools
) -> tuple[ShellPool | None, Shape, str, tuple[NetRequest, ...]]:
    memory, vcpus = request.memory_kib, request.vcpus
    nets = request.nets or ()
    networks = tuple([net.network for net in nets])
    disks = len(request.disks or ())
    if request.flavor is not None:
        pool = pools[request.flavor]
        if request.mode not in (None, pool.flavor.mode):
            raise BadRequest(f"the flavor's is {pool.flavor.mode}", "request.mode")
        if memory not in (None, pool.flavor.memory_kib) or vcpus not in (None, pool.flavor.vcpus):
            raise BadRequest("memory or vcpus differ from the flavor's", "request.flavor")
        if request.nets is not None and networks != pool.flavor.networks:
            raise BadRequest("networks differ from the flavor's", "request.nets")
        if disks != pool.flavor.disks:
            raise BadRequest(
                f"the flavor has {pool.flavor.disks} disks, not {disks}", "request.disks"
            )
        return pool, pool.shape, pool.flavor.name, nets or pool.nets
    mode = request.mode or (Mode.NOXS if image.device_page else Mode.XENSTORE)
    match = pools.matching(mode, memory, vcpus, networks, disks)
    if match is not None:
        return match, match.shape, match.flavor.name, nets
    if len(nets) > VIFS_MAX:
        raise BadRequest(f"at most {VIFS_MAX} networks", "request.nets")
    if disks > VBDS_MAX:
        raise BadRequest(f"at most {VBDS_MAX} disks", "request.disks")
    shape = Shape.of(memory or DEFAULT_KIB[mode], vcpus or 1, len(nets), disks, mode)
    return None, shape, "", nets
