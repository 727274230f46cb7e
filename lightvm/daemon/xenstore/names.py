"""Each domain's name in XenStore, for `xl list`. Never on the hot path.

The rest of the daemon leaves notes; one task carries them out, a batch at a time, in a worker thread. A XenStore
that is slow, full or gone costs `xl list` a name and nothing else.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import structlog
import trio

from lightvm.daemon.xenstore.store import Store

log = structlog.get_logger()

T = TypeVar("T")

ATTEMPT_SECONDS = 10.0
RETRY_SECONDS = 5.0
BATCH = 64
MOST_THREADS = 4
"""Threads that a store which does not answer may hold up; a call that was given up may hang for ever."""


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
        self._machines: dict[int, str] = {}

    def set_name(self, domid: int, name: str, machine: str | None = None) -> None:
        """Note a name to be written soon; also into the directory ``/vm/UUID`` of a domain that has one."""
        if machine is not None:
            self._machines[domid] = machine
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
                    if (machine := self._machines.get(domid)) is not None:
                        self._store.write(f"{machine}/name", name)
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
                self._machines.pop(domid, None)
            if self._wanted.get(domid, self) == name:
                del self._wanted[domid]
        self._done.unpark_all()

    async def domids_present(self) -> set[int]:
        """Return the domids that have any node in XenStore. Raises `OSError`, also after a time-out."""
        names = await self._ask(lambda: self._store.children("/local/domain"))
        return {int(name) for name in names if name.isdigit()}

    async def names_of(self, domids: Sequence[int]) -> dict[int, str]:
        """Return the names of those that have one. Raises `OSError`, also after a time-out."""
        if not domids:
            return {}

        def read() -> dict[int, str]:
            found = {domid: self._store.read(f"/local/domain/{domid}/name") for domid in domids}
            return {domid: name for domid, name in found.items() if name is not None}

        return await self._ask(read)

    async def _ask(self, question: Callable[[], T]) -> T:
        try:
            with trio.fail_after(ATTEMPT_SECONDS):
                return await trio.to_thread.run_sync(
                    question, abandon_on_cancel=True, limiter=self._limiter
                )
        except trio.TooSlowError as exc:
            raise OSError(errno.ETIMEDOUT, "xenstore did not answer") from exc
