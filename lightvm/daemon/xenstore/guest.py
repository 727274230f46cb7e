"""What there is in XenStore of a guest that is not made for LightVM, as libxl writes it for the same guest.

Sources: ``docs/misc/xenstore-paths.pandoc`` of Xen; ``docs/xenstore-mode.md`` lists where this differs from libxl.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from lightvm.daemon.backends import (
    BACKENDS,
    INITIALISING,
    OWNER,
    Device,
    back_nodes,
    back_path,
    front_nodes,
    front_path,
)
from lightvm.daemon.domains import dashed
from lightvm.daemon.journal import DomainRecord
from lightvm.daemon.net.vifs import describe_addresses
from lightvm.daemon.xenstore.store import Node, Store
from lightvm.errors import NotPossibleNow
from lightvm.model import Mode, Power, Vif
from lightvm.xen.device_page import CONSOLE_GFN, STORE_GFN
from lightvm.xen.hypervisor import Handle, Shape

CONSOLE_TYPE = "lightvmd"
"""Who serves the console: ``xenconsoled`` leaves all but its own alone."""

CONSOLE_LIMIT = 1048576
"""Bytes of output that xl's console daemon keeps; here for those who look."""


def home(domid: int) -> str:
    """Return the directory of a domain."""
    return f"/local/domain/{domid}"


def machine_of(record: DomainRecord) -> str | None:
    """Return the directory of a domain that has its UUID in its path, where it has such."""
    return _machine(record.uuid) if record.mode is Mode.XENSTORE else None


def _machine(uuid: str) -> str:
    return f"/vm/{dashed(uuid)}"


def introduce(
    store: Store, handle: Handle, uuid: str, shape: Shape, devices: Sequence[Device]
) -> None:
    """Write all that there is of a guest, in one transaction, and let it speak with xenstored. Blocks."""
    store.write_all(list(describe_guest(handle, uuid, shape, devices)))
    store.introduce(handle.domid, STORE_GFN, handle.store_port)


def tell_addresses(store: Store, domid: int, vifs: Sequence[Vif]) -> None:
    """Give a guest's vifs other addresses than its shell has. Blocks."""
    nodes = []
    for index, vif in enumerate(vifs):
        nodes.append(Node(f"{home(domid)}/device/vif/{index}/mac", vif.mac))
        for place in (f"{BACKENDS}/vif/{domid}", f"/libxl/{domid}/device/vif"):
            for key, value in describe_addresses(vif).items():
                nodes.append(Node(f"{place}/{index}/{key}", value))
    store.write_all(nodes)


def tell_tty(store: Store, domid: int, uuid: str, path: str) -> None:
    """Say where a guest's terminal is, unless its nodes are gone already. Blocks."""
    if store.read(f"{home(domid)}/{OWNER}") == uuid:
        store.write(f"{home(domid)}/console/tty", path)


def ask_power(store: Store, domid: int, power: Power) -> None:
    """Ask a guest to stop; raises `NotPossibleNow` where it says what it understands, and that is not among it.

    One that says nothing may understand all the same: Linux says so late, others never.
    """
    control = f"{home(domid)}/control"
    able = [what for what in Power if store.read(f"{control}/feature-{what}") == "1"]
    if able and power not in able:
        raise NotPossibleNow(f"the guest says that it understands {', '.join(able)}", power)
    store.write(f"{control}/shutdown", power)


def has_heard(store: Store, domid: int) -> bool:
    """Whether a guest has taken notice of what it was asked for, which it says by emptying the node."""
    return store.read(f"{home(domid)}/control/shutdown") == ""


def describe_guest(
    handle: Handle, uuid: str, shape: Shape, devices: Sequence[Device]
) -> Iterator[Node]:
    """Yield all nodes of a guest, but its name; those of a directory after it."""
    domid = handle.domid
    own, machine, toolstack = home(domid), _machine(uuid), f"/libxl/{domid}"
    read_only, writable, hidden = ("n0", f"r{domid}"), (f"n{domid}",), ("n0",)
    yield Node(own, access=read_only)
    yield Node(f"{own}/{OWNER}", uuid)
    yield Node(machine, access=read_only)
    yield Node(f"{machine}/uuid", dashed(uuid))
    yield Node(f"{machine}/start_time", f"{time.time():.2f}")
    yield Node(toolstack, access=hidden)
    yield Node(f"{toolstack}/type", "pvh")
    yield Node(f"{toolstack}/dm-version", "qemu_xen")  # xl asks for it, though there is none
    yield Node(f"{own}/vm", machine)
    yield Node(f"{own}/domid", str(domid))
    for vcpu in range(shape.vcpus):
        yield Node(f"{own}/cpu/{vcpu}/availability", "online")
    yield Node(f"{own}/memory/static-max", str(shape.memory_kib))
    yield Node(f"{own}/memory/target", str(shape.memory_kib))
    yield Node(f"{own}/memory/videoram", "0")
    yield Node(f"{own}/device/suspend/event-channel", access=writable)
    yield Node(f"{own}/control/shutdown", access=writable)
    for feature in Power:
        yield Node(f"{own}/control/feature-{feature}", access=writable)
    yield Node(f"{own}/control/sysrq", access=writable)
    yield Node(f"{own}/control/platform-feature-multiprocessor-suspend", "1")
    yield Node(f"{own}/control/platform-feature-xs_reset_watches", "1")
    for free in ("data", "drivers", "feature", "attr", "error"):
        yield Node(f"{own}/{free}", access=writable)
    yield Node(f"{own}/store/port", str(handle.store_port))
    yield Node(f"{own}/store/ring-ref", str(STORE_GFN))
    yield from _describe_console(handle)
    for device in devices:
        yield from _describe_device(domid, uuid, toolstack, device)


def _describe_console(handle: Handle) -> Iterator[Node]:
    """Yield what a guest, and ``xl console``, look for; the daemon itself serves the console."""
    domid = handle.domid
    front, back = f"{home(domid)}/console", f"{BACKENDS}/console/{domid}/0"
    ours = {
        "backend": back,
        "limit": str(CONSOLE_LIMIT),
        "type": CONSOLE_TYPE,
        "output": "pty",
        "tty": "",
        "port": str(handle.console_port),
        "ring-ref": str(CONSOLE_GFN),
    }
    for key, value in ours.items():
        yield Node(f"{front}/{key}", value)
    yield Node(f"{front}/backend-id", "0", access=(f"n{domid}", "r0"))
    yield Node(back, access=("n0", f"r{domid}"))
    theirs = {
        "frontend": front,
        "frontend-id": str(domid),
        "online": "1",
        "protocol": "vt100",
        "state": INITIALISING,
    }
    known = f"/libxl/{domid}/device/console/0"
    yield Node(f"{known}/backend", back)
    for key, value in theirs.items():
        yield Node(f"{back}/{key}", value)
        yield Node(f"{known}/{key}", value)


def _describe_device(domid: int, uuid: str, toolstack: str, device: Device) -> Iterator[Node]:
    """Yield both ends of a device as the guest's front-end and the back-end find them, before they have spoken."""
    front, back = front_path(domid, device), back_path(domid, device)
    ours, theirs = front_nodes(domid, device), back_nodes(domid, uuid, device)
    known = f"{toolstack}/device/{device.kind}/{device.number}"
    for place, nodes, access in (
        (front, {"trusted": "1", **ours}, (f"n{domid}", "r0")),
        (back, theirs, ("n0", f"r{domid}")),
        (known, {"backend": back, **theirs}, ("n0",)),
    ):
        yield Node(place, access=access)
        for key, value in nodes.items():
            yield Node(f"{place}/{key}", value)
    for key, value in device.fixed.items():
        yield Node(f"{front}/{key}", value, access=("n0", f"r{domid}"))
