"""A XenStore in memory."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import trio

from lightvm.daemon.xenstore.store import Node

LOOK_SECONDS = 0.005


class MemoryStore:
    """A XenStore in memory, for tests and for the in-memory daemon; `broken` makes it raise."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.access: dict[str, tuple[str, ...]] = {}
        self.introduced: dict[int, tuple[int, int]] = {}
        """Page and event channel by domid."""
        self.broken = False
        self.released = trio.Event()
        """To be set where `wait_release` is to return."""

    def _check(self) -> None:
        if self.broken:
            raise OSError("xenstore: injected")

    def write(self, path: str, value: str) -> None:
        """Write a node."""
        self._check()
        self.nodes[path] = value
        if path.startswith("/local/domain/") and path.endswith("/state"):
            self._act_as_backend(path, value)

    def _act_as_backend(self, path: str, value: str) -> None:
        """Do what a back-end does that hears of its device, and of its front-end."""
        if "/backend/" in path:
            self.nodes[path] = "2"
            return
        _, _, _, domid, _, kind, number, _ = path.split("/")
        backend = f"/local/domain/0/backend/{kind}/{domid}/{number}/state"
        if backend in self.nodes:
            self.nodes[backend] = {"1": "2"}.get(value, value)

    def write_all(self, nodes: Sequence[Node]) -> None:
        """Write nodes."""
        before = dict(self.nodes), dict(self.access)
        try:
            for node in nodes:
                self.write(node.path, node.value)
                if node.access:
                    self.access[node.path] = node.access
        except BaseException:
            self.nodes, self.access = before
            raise

    def introduce(self, domid: int, gfn: int, port: int) -> None:
        """Note a domain."""
        self._check()
        self.introduced[domid] = (gfn, port)

    def release(self, domid: int) -> None:
        """Forget a domain."""
        self._check()
        self.introduced.pop(domid, None)

    def remove(self, path: str) -> None:
        """Remove a node and all below it."""
        self._check()
        for node in list(self.nodes):
            if node == path or node.startswith(path + "/"):
                del self.nodes[node]
                self.access.pop(node, None)

    def read(self, path: str) -> str | None:
        """Return a node's value."""
        self._check()
        return self.nodes.get(path)

    def wait_for(self, path: str, values: Collection[str | None], seconds: float) -> str | None:
        """Look again and again."""
        end = time.monotonic() + seconds
        while (found := self.read(path)) not in values and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        return found

    def children(self, path: str) -> Sequence[str]:
        """Return the names below a node."""
        self._check()
        prefix = path + "/"
        return sorted(
            {n[len(prefix) :].split("/")[0] for n in list(self.nodes) if n.startswith(prefix)}
        )

    async def wait_release(self) -> None:
        """Wait for a test to say so."""
        self._check()
        await self.released.wait()
        self.released = trio.Event()
