"""The little that LightVM keeps in XenStore: each domain's name, for `xl list`. Never on the hot path.

The rest of the daemon leaves notes; one task carries them out, a batch at a time, in a worker thread. A XenStore
that is slow, full or gone costs `xl list` a name and nothing else.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

if TYPE_CHECKING:
    import pyxs

log = structlog.get_logger()

ATTEMPT_SECONDS = 10.0
RETRY_SECONDS = 5.0
BATCH = 64
MOST_THREADS = 4
"""Threads that a store which does not answer may hold up; a call that was given up may hang for ever."""


class Store(Protocol):
    """A XenStore as far as it is needed here. Called in a worker thread; raises `OSError`."""

    def write(self, path: str, value: str) -> None:
        """Write a node."""
        ...

    def remove(self, path: str) -> None:
        """Remove a node and all below it; one that is not there is no error."""
        ...

    def read(self, path: str) -> str | None:
        """Return a node's value, or None where there is none."""
        ...

    def children(self, path: str) -> Sequence[str]:
        """Return the names below a node."""
        ...


class PyxsStore:
    """XenStore through `pyxs`; connects on first use, and again after an error."""

    def __init__(self, socket_path: str = "/run/xenstored/socket") -> None:
        self._socket_path = socket_path
        self._client: pyxs.Client | None = None

    def _call(self, operation: Callable[[pyxs.Client], object], missing: object) -> object:
        import pyxs

        try:
            if self._client is None:
                self._client = self._connect()
            return operation(self._client)
        except (pyxs.PyXSError, OSError) as exc:
            if exc.args and exc.args[0] == errno.ENOENT and self._client is not None:
                return missing
            self.close()
            raise OSError(f"xenstore: {exc}") from exc

    def _connect(self) -> pyxs.Client:
        import pyxs
        from pyxs.connection import UnixSocketConnection

        os.stat(self._socket_path)  # a connection that fails leaves its socket to the collector
        # The connection first: a router that cannot connect keeps its own sockets open.
        connection = UnixSocketConnection(self._socket_path)
        connection.connect()
        client = pyxs.Client(router=pyxs.Router(connection))
        client.connect()
        return client

    def write(self, path: str, value: str) -> None:
        """Write a node."""
        self._call(lambda client: client.write(path.encode(), value.encode()), None)

    def remove(self, path: str) -> None:
        """Remove a node and all below it."""
        self._call(lambda client: client.delete(path.encode()), None)

    def read(self, path: str) -> str | None:
        """Return a node's value."""
        value = self._call(lambda client: client.read(path.encode()), None)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else None

    def children(self, path: str) -> Sequence[str]:
        """Return the names below a node."""
        names = self._call(lambda client: client.list(path.encode()), [])
        assert isinstance(names, list)
        return [name.decode() for name in names if name]

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            client, self._client = self._client, None
            client.close()


class MemoryStore:
    """A XenStore in memory, for tests and for the in-memory daemon; `broken` makes it raise."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.broken = False

    def _check(self) -> None:
        if self.broken:
            raise OSError("xenstore: injected")

    def write(self, path: str, value: str) -> None:
        """Write a node."""
        self._check()
        self.nodes[path] = value
        if path.endswith("/state"):
            self._act_as_backend(path, value)

    def _act_as_backend(self, path: str, value: str) -> None:
        """Do what a back-end does that hears of its device, and of its front-end."""
        if "/backend/" in path:
            self.nodes[path] = "2"
            return
        backend = self.nodes.get(path.removesuffix("state") + "backend")
        if f"{backend}/state" in self.nodes:
            self.nodes[f"{backend}/state"] = {"1": "2"}.get(value, value)

    def remove(self, path: str) -> None:
        """Remove a node and all below it."""
        self._check()
        for node in list(self.nodes):
            if node == path or node.startswith(path + "/"):
                del self.nodes[node]

    def read(self, path: str) -> str | None:
        """Return a node's value."""
        self._check()
        return self.nodes.get(path)

    def children(self, path: str) -> Sequence[str]:
        """Return the names below a node."""
        self._check()
        prefix = path + "/"
        return sorted({n[len(prefix) :].split("/")[0] for n in self.nodes if n.startswith(prefix)})


class NameKeeper:
    """Keeps ``/local/domain/DOMID/name`` of our domains.

    A node is removed only while it has the name that was written: the domid may be another toolstack's domain by then.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted: dict[int, str | None] = {}
        self._wake = trio.Event()
        self._done = trio.lowlevel.ParkingLot()
        self._limiter = trio.CapacityLimiter(MOST_THREADS)
        self.written: dict[int, str] = {}
        """Domids that have, or may have, a node of ours, and its name."""

    def set_name(self, domid: int, name: str) -> None:
        """Note a name to be written soon."""
        self._want(domid, name)

    async def remove(self, domid: int) -> None:
        """Remove a domain's node and wait until that is done; no wait where it never had one."""
        if domid not in self.written and domid not in self._wanted:
            return
        self._want(domid, None)
        while domid in self._wanted or domid in self.written:
            await self._done.park()

    def _want(self, domid: int, name: str | None) -> None:
        self._wanted[domid] = name
        self._wake.set()

    async def write_names(self) -> None:
        """Carry the notes out, for ever."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._wanted:
                batch = dict(list(self._wanted.items())[:BATCH])
                failures = await self._attempt(batch)
                self._settle(batch, failures.keys())
                if failures:
                    error = str(next(iter(failures.values()))) or "timed out"
                    log.warning("xenstore-failed", error=error, notes=len(self._wanted))
                    await trio.sleep(RETRY_SECONDS)

    async def _attempt(self, batch: dict[int, str | None]) -> dict[int, Exception]:
        """Carry a batch out; return what failed."""
        # Before the attempt: a part of it may have been carried out.
        self.written |= {domid: name for domid, name in batch.items() if name is not None}
        given_up = threading.Event()
        try:
            with trio.fail_after(ATTEMPT_SECONDS):
                return await trio.to_thread.run_sync(
                    self._carry_out, batch, given_up, abandon_on_cancel=True, limiter=self._limiter
                )
        except trio.TooSlowError as exc:
            return dict.fromkeys(batch, exc)
        finally:
            given_up.set()

    def _carry_out(
        self, batch: dict[int, str | None], given_up: threading.Event
    ) -> dict[int, Exception]:
        failures: dict[int, Exception] = {}
        for domid, name in batch.items():
            if given_up.is_set():
                break  # what is left is done by a later attempt, and may be out of date by then
            try:
                if name is None:
                    self._remove(domid)
                else:
                    self._store.write(f"/local/domain/{domid}/name", name)
            except OSError as exc:
                failures[domid] = exc
        return failures

    def _remove(self, domid: int) -> None:
        path, name = f"/local/domain/{domid}", self.written.get(domid)
        if name is not None and self._store.read(f"{path}/name") == name:
            self._store.remove(path)

    def _settle(self, batch: dict[int, str | None], failed: Collection[int]) -> None:
        for domid, name in batch.items():
            if domid in failed:
                self._wanted[domid] = self._wanted.pop(domid)  # to the end: others first
                continue
            if name is None:
                self.written.pop(domid, None)
            if self._wanted.get(domid, self) == name:
                del self._wanted[domid]
        self._done.unpark_all()

    async def domids_present(self) -> set[int]:
        """Return the domids that have any node in XenStore. Raises `OSError`, also after a time-out."""
        try:
            with trio.fail_after(ATTEMPT_SECONDS):
                names = await trio.to_thread.run_sync(
                    self._store.children,
                    "/local/domain",
                    abandon_on_cancel=True,
                    limiter=self._limiter,
                )
        except trio.TooSlowError as exc:
            raise OSError(errno.ETIMEDOUT, "xenstore did not answer") from exc
        return {int(name) for name in names if name.isdigit()}
