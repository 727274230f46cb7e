"""Names in XenStore: written sooner or later, and nobody waits for it who need not."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from lightvm.daemon.xenstore import names as names_module
from lightvm.daemon.xenstore.memory import MemoryStore
from lightvm.daemon.xenstore.names import (
    ATTEMPT_SECONDS,
    BATCH,
    MOST_THREADS,
    RETRY_SECONDS,
    NameKeeper,
)
from tests.waits import settle, until

Open = Callable[[MemoryStore], AbstractAsyncContextManager[NameKeeper]]


@pytest.fixture
def keeper(threadless: None) -> Open:
    """Return what opens a keeper at work."""

    @asynccontextmanager
    async def open_keeper(store: MemoryStore) -> AsyncIterator[NameKeeper]:
        names = NameKeeper(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.write_names)
            yield names
            nursery.cancel_scope.cancel()

    return open_keeper


async def test_a_name_is_written(keeper: Open) -> None:
    store = MemoryStore()
    async with keeper(store) as names:
        names.set_name(7, "web")
        await settle()
        assert store.nodes == {"/local/domain/7/name": "web"}
        assert set(names.written) == {7}


async def test_a_name_is_removed_with_all_below_the_domain(keeper: Open) -> None:
    store = MemoryStore()
    store.nodes = {"/local/domain/7/x/y": "z", "/local/domain/77/name": "other"}
    async with keeper(store) as names:
        names.set_name(7, "web")
        await settle()
        await names.remove(7)
        assert store.nodes == {"/local/domain/77/name": "other"}
        assert not names.written


async def test_a_domain_of_somebody_else_that_has_the_domid_now_keeps_its_node(
    keeper: Open,
) -> None:
    store = MemoryStore()
    async with keeper(store) as names:
        names.set_name(7, "web")
        await settle()
        theirs = {"/local/domain/7/name": "theirs", "/local/domain/7/device/vif": "0"}
        store.nodes = dict(theirs)
        await names.remove(7)
        assert store.nodes == theirs
        assert not names.written


async def test_removing_what_was_never_written_does_not_wait(keeper: Open) -> None:
    store = MemoryStore()
    store.broken = True
    async with keeper(store) as names:
        begun = trio.current_time()
        await names.remove(7)
        assert trio.current_time() == begun


async def test_a_name_that_is_removed_before_it_is_written_leaves_nothing(keeper: Open) -> None:
    store = MemoryStore()
    async with keeper(store) as names:
        names.set_name(7, "web")
        await names.remove(7)
        assert store.nodes == {}
        assert not names.written


async def test_a_broken_store_is_tried_again_until_it_works(keeper: Open) -> None:
    store = MemoryStore()
    store.broken = True
    async with keeper(store) as names:
        names.set_name(7, "web")
        await settle(60)
        assert store.nodes == {}
        store.broken = False
        await settle(RETRY_SECONDS + 1)
        assert store.nodes == {"/local/domain/7/name": "web"}


async def test_a_removal_waits_for_a_broken_store(keeper: Open) -> None:
    store = MemoryStore()
    async with keeper(store) as names:
        names.set_name(7, "web")
        await settle()
        store.broken = True
        with trio.move_on_after(30) as scope:
            await names.remove(7)
        assert scope.cancelled_caught
        store.broken = False
        await names.remove(7)
        assert store.nodes == {}


async def test_the_latest_name_wins(keeper: Open) -> None:
    store = MemoryStore()
    store.broken = True
    async with keeper(store) as names:
        names.set_name(7, "old")
        await settle(1)
        names.set_name(7, "new")
        store.broken = False
        await settle(10)
        assert store.nodes == {"/local/domain/7/name": "new"}


async def test_more_names_than_one_batch_are_all_written(keeper: Open) -> None:
    store = MemoryStore()
    async with keeper(store) as names:
        for domid in range(3 * BATCH + 1):
            names.set_name(domid, f"d{domid}")
        await settle()
        assert len(store.nodes) == 3 * BATCH + 1


async def test_a_node_that_cannot_be_written_does_not_hold_up_the_others(keeper: Open) -> None:
    class Picky(MemoryStore):
        def write(self, path: str, value: str) -> None:
            if value == "bad":
                raise OSError("xenstore: no room")
            super().write(path, value)

    store = Picky()
    async with keeper(store) as names:
        for domid in range(BATCH + 3):
            names.set_name(domid, "bad")
        names.set_name(1000, "good")
        await settle(60)
        assert store.nodes == {"/local/domain/1000/name": "good"}
        await names.remove(1000)
        assert store.nodes == {}


async def test_those_domids_that_have_a_node_are_told(keeper: Open) -> None:
    store = MemoryStore()
    store.nodes = {f"/local/domain/{name}/name": "x" for name in ("0", "7", "12", "x")}
    async with keeper(store) as names:
        assert await names.domids_present() == {0, 7, 12}
        store.broken = True
        with pytest.raises(OSError, match="injected"):
            await names.domids_present()


class StuckStore(MemoryStore):
    """A store that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.asked = 0
        self.most_at_once = 0

    def _check(self) -> None:
        if not self.go_on.is_set():
            self.asked += 1
            self.most_at_once = max(self.most_at_once, self.asked)
            self.go_on.wait(10)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a store up soon."""
    monkeypatch.setattr(names_module, "ATTEMPT_SECONDS", 0.01)
    monkeypatch.setattr(names_module, "RETRY_SECONDS", 0.001)


@pytest.mark.trio(run=trio.run)
async def test_a_store_that_does_not_answer_is_given_up_and_costs_few_threads(
    impatient: None,
) -> None:
    store = StuckStore()
    names = NameKeeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.write_names)
        names.set_name(7, "web")
        await until(lambda: store.asked)
        for _ in range(MOST_THREADS + 3):
            with pytest.raises(OSError, match="did not answer"):
                await names.domids_present()
        assert store.most_at_once <= MOST_THREADS
        store.go_on.set()
        await until(lambda: not names._wanted)
        nursery.cancel_scope.cancel()
    assert store.nodes == {"/local/domain/7/name": "web"}


@pytest.mark.trio(run=trio.run)
async def test_one_call_that_hangs_for_ever_does_not_stop_the_others(impatient: None) -> None:
    class HangsOnce(MemoryStore):
        hung = threading.Event()

        def write(self, path: str, value: str) -> None:
            if not self.hung.is_set():
                self.hung.set()
                go_on.wait(10)
            super().write(path, value)

    go_on, store = threading.Event(), HangsOnce()
    names = NameKeeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.write_names)
        names.set_name(7, "old")
        names.set_name(8, "other")
        await until(lambda: store.nodes)
        await names.remove(8)
        assert store.nodes == {"/local/domain/7/name": "old"}
        go_on.set()  # a thread that was given up does not go on with its batch
        await until(lambda: names._limiter.borrowed_tokens == 0)
        nursery.cancel_scope.cancel()
    assert store.nodes == {"/local/domain/7/name": "old"}


def test_an_attempt_is_longer_than_a_healthy_store_takes() -> None:
    assert ATTEMPT_SECONDS >= 5


def test_the_store_in_memory_knows_children() -> None:
    store = MemoryStore()
    store.write("/local/domain/7/name", "a")
    store.write("/local/domain/7/x", "b")
    store.write("/local/domain/12/name", "c")
    assert store.children("/local/domain") == ["12", "7"]
    assert store.children("/nothing") == []
