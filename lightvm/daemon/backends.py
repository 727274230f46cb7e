"""Back-ends of devices: what stock netback and blkback read in XenStore to connect to a shell's rings.

Everything here is off the hot path: a shell's devices are connected when it is made, and removed after its domain has
ended. All functions block, and are for a worker thread; they raise `OSError`, as the store does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lightvm.daemon.xenstore.store import Node, Store
from lightvm.errors import DiskFailed, LinkFailed, TimedOut

BACKENDS = "/local/domain/0/backend"
FAILURES = {"vif": LinkFailed, "vbd": DiskFailed}
KINDS = tuple(FAILURES)
HOME = "home"
INITIALISING, WAITING, CONNECTED, CLOSING, CLOSED = "1", "2", "4", "5", "6"
"""States of either end (``public/io/xenbus.h``)."""

ENDED = (CLOSING, CLOSED, None)

NO_SCRIPT = "/bin/true"
"""What netback has to be told; it runs none."""

CONNECT_SECONDS = 20.0

OWNER = "lightvm-uuid"
"""Node that says whose a device is: the domid alone may be another toolstack's domain by then."""


class Found(NamedTuple):
    """What there is of a domain of ours: devices of one kind, or, of kind `HOME`, its own directory."""

    domid: int
    uuid: str
    kind: str


class Device(NamedTuple):
    """One device, with what its kind wants to be told beside what all do."""

    kind: str
    number: int
    front: Mapping[str, str]
    back: Mapping[str, str]
    fixed: Mapping[str, str] = {}
    """What is in its front-end's directory, and not for the guest to change."""


def announce(store: Store, domid: int, uuid: str, devices: Sequence[Device]) -> None:
    """Tell the back-ends of all devices of a shell."""
    owner = Node(f"/local/domain/{domid}/{OWNER}", uuid)
    nodes = [node for device in devices for node in _describe(domid, uuid, device)]
    store.write_all([owner, *nodes])


def connect(store: Store, domid: int, devices: Sequence[Device]) -> None:
    """Say for the guest that it is ready, and wait until the back-ends are too; raises what `wait` does."""
    for device in devices:
        store.write(f"{front_path(domid, device)}/state", CONNECTED)
    wait(store, domid, devices, CONNECTED)


def front_path(domid: int, device: Device) -> str:
    """Return the directory of a device's front-end."""
    return f"/local/domain/{domid}/device/{device.kind}/{device.number}"


def back_path(domid: int, device: Device) -> str:
    """Return the directory of a device's back-end."""
    return f"{BACKENDS}/{device.kind}/{domid}/{device.number}"


def back_nodes(domid: int, uuid: str, device: Device) -> dict[str, str]:
    """Return what stock Linux reads of a device in its back-end's directory; its state comes last."""
    return {
        OWNER: uuid,
        "frontend": front_path(domid, device),
        "frontend-id": str(domid),
        **device.back,
        "state": INITIALISING,
    }


def _describe(domid: int, uuid: str, device: Device) -> Iterator[Node]:
    """Yield both ends, and nothing that no back-end reads: each node costs xenstored as much as a guest's page."""
    for base, nodes in (
        (front_path(domid, device), {**device.front, "state": INITIALISING}),
        (back_path(domid, device), back_nodes(domid, uuid, device)),
    ):
        for key, value in nodes.items():
            yield Node(f"{base}/{key}", value)


def wait(store: Store, domid: int, devices: Sequence[Device], *states: str) -> None:
    """Wait until the back-ends of all devices are in one of some states.

    Raises `TimedOut`; and `LinkFailed` or `DiskFailed` at once where one ends instead.
    """
    end = time.monotonic() + CONNECT_SECONDS
    for device in devices:
        path = f"{back_path(domid, device)}/state"
        found = store.wait_for(path, (*states, *ENDED), end - time.monotonic())
        if found in ENDED:
            raise FAILURES[device.kind]("the back-end has ended", path)
        if found not in states:
            raise TimedOut(f"the back-end is in state {found}, not {states[0]}", path)


def disconnect(store: Store, domid: int, uuid: str, physical: list[str]) -> None:
    """Remove all devices of a domain that is ours, and what there is of it in XenStore. May be called again.

    Network devices go with them. Adds to `physical` the ``physical-device`` of those that have one and are removed,
    also where not all could be.
    """
    for kind in KINDS:
        for device in _devices(store, kind, domid, uuid):
            behind = store.read(f"{device}/physical-device")
            store.remove(device)
            if behind is not None:
                physical.append(behind)
        directory = f"{BACKENDS}/{kind}/{domid}"
        if not store.children(directory):
            store.remove(directory)
    home = f"/local/domain/{domid}"
    if store.read(f"{home}/{OWNER}") == uuid:
        if (machine := store.read(f"{home}/vm")) is not None:  # of a guest in XenStore mode
            store.release(domid)
            store.remove(machine)
            store.remove(f"{BACKENDS}/console/{domid}")
            store.remove(f"/libxl/{domid}")
        store.remove(home)


def _devices(store: Store, kind: str, domid: int, uuid: str) -> Iterator[str]:
    directory = f"{BACKENDS}/{kind}/{domid}"
    for number in store.children(directory):
        if store.read(f"{directory}/{number}/{OWNER}") == uuid:
            yield f"{directory}/{number}"


def find(store: Store) -> set[Found]:
    """Return what there is of domains of ours, and of those that were."""
    found = set()
    for kind in KINDS:
        for domid in store.children(f"{BACKENDS}/{kind}"):
            for number in store.children(f"{BACKENDS}/{kind}/{domid}"):
                found |= _found(store, f"{BACKENDS}/{kind}/{domid}/{number}", domid, kind)
    for domid in store.children("/local/domain"):
        found |= _found(store, f"/local/domain/{domid}", domid, HOME)
    return found


def _found(store: Store, path: str, domid: str, kind: str) -> set[Found]:
    uuid = store.read(f"{path}/{OWNER}")
    return {Found(int(domid), uuid, kind)} if domid.isdigit() and uuid is not None else set()
