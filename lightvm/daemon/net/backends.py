"""The back-ends of vifs: what stock netback reads in XenStore to connect to a shell's rings.

Everything here is off the hot path: a shell's vifs are connected when it is made, and removed after its domain has
ended. All functions block, and are for a worker thread; they raise `OSError`, as the store does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from lightvm.daemon.xenstore import Store
from lightvm.errors import TimedOut

BACKENDS = "/local/domain/0/backend/vif"
CONNECTED = "4"
FIRST_REF = 8
CONNECT_SECONDS = 20.0
SHORTEST_LOOK, LONGEST_LOOK = 0.005, 0.1

PLACEHOLDER_MAC = "fe:ff:ff:ff:ff:ff"
"""What netback is told: it uses none, and the guest's own is not known yet."""


def connect(store: Store, domid: int, uuid: str, ports: Sequence[int]) -> None:
    """Connect netback to all vifs of a shell, and wait until it is; raises `TimedOut`."""
    for index, port in enumerate(ports):
        _publish(store, domid, uuid, index, port)
    end = time.monotonic() + CONNECT_SECONDS
    for index in range(len(ports)):
        _wait_connected(store, f"{BACKENDS}/{domid}/{index}", end)


def _publish(store: Store, domid: int, uuid: str, index: int, port: int) -> None:
    """Write both ends of a vif: the guest's, as it would itself, and netback's. Each state comes last."""
    frontend = f"/local/domain/{domid}/device/vif/{index}"
    backend = f"{BACKENDS}/{domid}/{index}"
    ours = {
        "backend": backend,
        "backend-id": "0",
        "handle": str(index),
        "mac": PLACEHOLDER_MAC,
        "tx-ring-ref": str(FIRST_REF + 2 * index),
        "rx-ring-ref": str(FIRST_REF + 2 * index + 1),
        "event-channel": str(port),
        "request-rx-copy": "1",
        "feature-rx-notify": "1",
        "feature-no-csum-offload": "1",
        "state": CONNECTED,
    }
    theirs = {
        "lightvm-uuid": uuid,  # the first: by this it is known to be ours
        "frontend": frontend,
        "frontend-id": str(domid),
        "online": "1",
        "handle": str(index),
        "mac": PLACEHOLDER_MAC,
        "script": "none",  # netback wants the key, and nobody runs it
        "hotplug-status": "connected",
        "state": "1",
    }
    for base, nodes in ((frontend, ours), (backend, theirs)):
        for key, value in nodes.items():
            store.write(f"{base}/{key}", value)


def _wait_connected(store: Store, backend: str, end: float) -> None:
    look = SHORTEST_LOOK
    while (state := store.read(f"{backend}/state")) != CONNECTED:
        if time.monotonic() > end:
            raise TimedOut(f"netback did not connect; it is in state {state}", backend)
        time.sleep(look)
        look = min(2 * look, LONGEST_LOOK)


def disconnect(store: Store, domid: int, uuid: str) -> None:
    """Remove all vifs of a domain that is ours; the network devices go with them. May be called again."""
    mine = f"{BACKENDS}/{domid}"
    if store.read(f"{mine}/0/lightvm-uuid") == uuid:
        store.remove(mine)
        store.remove(f"/local/domain/{domid}/device/vif")


def find(store: Store) -> dict[int, str]:
    """Return the domains with vifs of ours: UUID by domid."""
    found = {}
    for name in store.children(BACKENDS):
        uuid = store.read(f"{BACKENDS}/{name}/0/lightvm-uuid")
        if name.isdigit() and uuid is not None:
            found[int(name)] = uuid
    return found


def device(domid: int, index: int) -> str:
    """Return the name that netback gives a vif's network device."""
    return f"vif{domid}.{index}"
