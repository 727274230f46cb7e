"""What there is in XenStore of a guest that is not made for LightVM, as libxl writes it for the same guest.

Sources: ``docs/misc/xenstore-paths.pandoc`` of Xen; ``docs/xenstore-mode.md`` lists where this differs from libxl.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from lightvm.daemon.backends import (
    BACKENDS,
    INITIALISING,
    NO_SCRIPT,
    OWNER,
    Device,
    back_nodes,
    back_path,
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


def _toolstack(domid: int) -> str:
    return f"/libxl/{domid}"


def introduce(
    store: Store, handle: Handle, uuid: str, shape: Shape, devices: Sequence[Device]
) -> None:
    """Write all that a guest and its back-ends look for, in one transaction, and let it speak with xenstored. Blocks.

    Then it may run: its back-ends wait for it, or it for them.
    """
    store.write_all(list(describe_guest(handle, uuid, shape, devices)))
    store.introduce(handle.domid, STORE_GFN, handle.store_port)


def plug(store: Store, domid: int, uuid: str, devices: Sequence[Device]) -> None:
    """Write the rest, in one transaction, when its network devices are in their bridges: netback has waited for that.

    Blocks.
    """
    store.write_all(list(describe_rest(domid, uuid, devices)))


def lacks_plug(store: Store, domid: int, uuid: str) -> bool:
    """Whether there is such a guest, without the rest. Blocks."""
    return (
        store.read(f"{home(domid)}/{OWNER}") == uuid
        and store.read(f"{_toolstack(domid)}/type") is None
    )


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
    """Yield the nodes of a guest, but its name; those of a directory after it."""
    domid = handle.domid
    own, machine = home(domid), _machine(uuid)
    read_only, writable = ("n0", f"r{domid}"), (f"n{domid}",)
    yield Node(own, access=read_only)
    yield Node(f"{own}/{OWNER}", uuid)
    yield Node(machine, access=read_only)
    yield Node(f"{machine}/uuid", dashed(uuid))
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
        yield from _describe_device(domid, uuid, device)


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


def _describe_device(domid: int, uuid: str, device: Device) -> Iterator[Node]:
    """Yield both ends of a device as the guest's front-end and the back-end find them, before they have spoken."""
    front, back = front_path(domid, device), back_path(domid, device)
    ours = {"trusted": "1", "backend": back, "backend-id": "0", **device.front}
    theirs = _device_back(domid, uuid, device)
    for place, nodes, access in (
        (front, {**ours, "state": INITIALISING}, (f"n{domid}", "r0")),
        (back, theirs, ("n0", f"r{domid}")),
    ):
        yield Node(place, access=access)
        yield from _below(place, nodes)
    for key, value in device.fixed.items():
        yield Node(f"{front}/{key}", value, access=("n0", f"r{domid}"))


def _device_back(domid: int, uuid: str, device: Device) -> dict[str, str]:
    # The script is run by nobody but xl that destroys the domain.
    return {"online": "1", "script": NO_SCRIPT, **back_nodes(domid, uuid, device)}


def describe_rest(domid: int, uuid: str, devices: Sequence[Device]) -> Iterator[Node]:
    """Yield what only toolstacks look for, and what netback waits for."""
    toolstack, console = _toolstack(domid), f"{BACKENDS}/console/{domid}/0"
    console_back = {
        "frontend": f"{home(domid)}/console",
        "frontend-id": str(domid),
        "online": "1",
        "protocol": "vt100",
        "state": INITIALISING,
    }
    yield Node(f"{_machine(uuid)}/start_time", f"{time.time():.2f}")
    yield Node(console, access=("n0", f"r{domid}"))
    yield from _below(console, console_back)
    yield Node(toolstack, access=("n0",))
    yield Node(f"{toolstack}/type", "pvh")
    yield Node(f"{toolstack}/dm-version", "qemu_xen")  # xl asks for it, though there is none
    yield from _below(f"{toolstack}/device/console/0", {"backend": console, **console_back})
    for device in devices:
        back, known = back_path(domid, device), f"{toolstack}/device/{device.kind}/{device.number}"
        plugged = {"hotplug-status": "connected"}
        yield from _below(back, plugged)
        yield from _below(known, {"backend": back, **_device_back(domid, uuid, device), **plugged})


def _below(place: str, nodes: Mapping[str, str]) -> Iterator[Node]:
    for key, value in nodes.items():
        yield Node(f"{place}/{key}", value)
