"""Events to watchers, none of whom can hold up the daemon."""

from __future__ import annotations

import trio

from lightvm.daemon.events import BACKLOG, EventBus
from lightvm.model import EventKind
from tests.unit.samples import DOMAIN


async def test_a_watcher_sees_what_happens_while_it_watches() -> None:
    bus = EventBus()
    bus.publish(EventKind.CREATED, DOMAIN)
    with bus.watch() as watcher:
        bus.publish(EventKind.READY, DOMAIN)
        bus.publish(EventKind.EXITED, DOMAIN)
        assert [(await watcher.next()).kind for _ in range(2)] == [
            EventKind.READY,
            EventKind.EXITED,
        ]
    bus.publish(EventKind.DESTROYED, DOMAIN)
    assert not bus.watched


async def test_every_watcher_sees_every_event() -> None:
    bus = EventBus()
    with bus.watch() as first, bus.watch() as second:
        bus.publish(EventKind.CREATED, DOMAIN)
        assert (await first.next()).domain == DOMAIN
        assert (await second.next()).domain == DOMAIN


async def test_a_watcher_waits_for_an_event() -> None:
    bus = EventBus()

    async def publish_late() -> None:
        await trio.sleep(10)
        bus.publish(EventKind.CREATED, DOMAIN)

    with bus.watch() as watcher:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish_late)
            assert (await watcher.next()).kind is EventKind.CREATED
    assert trio.current_time() >= 10


async def test_a_watcher_that_stops_watching_is_forgotten() -> None:
    bus = EventBus()
    with bus.watch():
        assert bus.watched
    assert not bus.watched


async def test_a_slow_watcher_is_told_how_many_events_it_lost() -> None:
    bus = EventBus()
    with bus.watch() as watcher:
        for _ in range(BACKLOG + 7):
            bus.publish(EventKind.READY, DOMAIN)
        for _ in range(BACKLOG):
            assert (await watcher.next()).kind is EventKind.READY
        lost = await watcher.next()
        assert (lost.kind, lost.count, lost.domain) == (EventKind.LOST_EVENTS, 7, None)


async def test_a_loss_is_told_before_the_events_that_came_after_it() -> None:
    bus = EventBus()
    with bus.watch() as watcher:
        for _ in range(BACKLOG + 3):
            bus.publish(EventKind.READY, DOMAIN)
        for _ in range(10):
            await watcher.next()
        bus.publish(EventKind.EXITED, DOMAIN)
        kinds = [(await watcher.next()).kind for _ in range(BACKLOG - 10 + 2)]
        assert kinds[-2:] == [EventKind.LOST_EVENTS, EventKind.EXITED]


async def test_a_loss_is_told_once() -> None:
    bus = EventBus()
    with bus.watch() as watcher:
        for _ in range(BACKLOG + 1):
            bus.publish(EventKind.READY, DOMAIN)
        for _ in range(BACKLOG + 1):
            await watcher.next()
        bus.publish(EventKind.EXITED, DOMAIN)
        assert (await watcher.next()).kind is EventKind.EXITED
