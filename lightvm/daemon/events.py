"""What happens to domains, told to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from lightvm.model import Domain, Event, EventKind

BACKLOG = 4096
"""Events that a watcher may be behind before it loses some."""


class Watcher:
    """One watcher's queue."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Event](BACKLOG)
        self._lost = 0

    def put(self, event: Event) -> None:
        """Queue an event, or count it as lost; a loss is told before what comes after it."""
        try:
            if self._lost:
                self._send.send_nowait(self._loss())
                self._lost = 0
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self._lost += 1

    async def next(self) -> Event:
        """Return the next event; after a loss, one that says how many were lost."""
        if self._lost and not self._receive.statistics().current_buffer_used:
            await trio.lowlevel.checkpoint()
            loss, self._lost = self._loss(), 0
            return loss
        return await self._receive.receive()

    def _loss(self) -> Event:
        return Event(kind=EventKind.LOST_EVENTS, at=time.time(), count=self._lost)


class EventBus:
    """Passes events to all watchers; costs next to nothing where there is none."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    def publish(self, kind: EventKind, domain: Domain) -> None:
        """Tell all watchers."""
        event = Event(kind=kind, at=time.time(), domain=domain)
        for watcher in self._watchers:
            watcher.put(event)

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Watch for the length of a block."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
