"""A step that hangs, and a caller, a client or a daemon that goes away meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from lightvm.client import Client, open_client
from lightvm.daemon.journal import read_journal
from lightvm.daemon.shell_maker import UNDO_SECONDS
from lightvm.errors import LightVMError
from lightvm.model import CreateRequest, WaitFor
from lightvm.testing import FakeHypervisor, InMemory
from tests.cancel.actions import (
    ACTIONS,
    DEVICE_ACTIONS,
    OLD,
    Action,
    begin,
    clean_up,
    config_for,
    create_cold_with_devices,
    create_pooled_with_devices,
    request_with_devices,
)
from tests.cancel.leftovers import assert_nothing_left
from tests.cancel.threads import DEVICE_STEPS, Threads
from tests.host import Host
from tests.waits import settle

SLOW = (
    "prepare",
    "close_window",
    "release",
    "destroy",
    "list_domains",
    "find_changed",
)
ACTION_AND_STEP = pytest.mark.parametrize(
    ("action", "step"),
    [(action, step) for action in ACTIONS for step in SLOW]
    + [(action, step) for action in DEVICE_ACTIONS for step in DEVICE_STEPS],
    ids=lambda value: getattr(value, "__name__", value),
)


@asynccontextmanager
async def hanging(
    where: FakeHypervisor | Threads, step: str, seconds: float
) -> AsyncIterator[None]:
    """Let a step hang for so long from now on; leave when it does so no more."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(release_later, where.hang(step), seconds)
        yield


def place_of(step: str, hypervisor: FakeHypervisor, threads: Threads) -> FakeHypervisor | Threads:
    """Return where a step can be made to hang."""
    return threads if step in DEVICE_STEPS else hypervisor


async def release_later(go_on: trio.Event, seconds: float) -> None:
    """Let a step go on after a while."""
    await trio.sleep(seconds)
    go_on.set()


@ACTION_AND_STEP
@pytest.mark.parametrize("seconds", [2, 3 * UNDO_SECONDS])
async def test_a_client_that_hangs_up_leaves_nothing(
    lvm: InMemory, client: Client, threads: Threads, action: Action, step: str, seconds: float
) -> None:
    await begin(lvm, client, action)
    async with hanging(place_of(step, lvm.hypervisor, threads), step, seconds):
        async with open_client(lvm.socket) as other:
            with trio.move_on_after(1), contextlib.suppress(LightVMError):
                await action(lvm, other)
    await settle(1)
    await clean_up(lvm, client)
    await assert_nothing_left(lvm)


@ACTION_AND_STEP
@pytest.mark.parametrize("seconds", [1.2, 3 * UNDO_SECONDS])
async def test_a_stop_leaves_nothing_but_domains_that_the_next_daemon_knows(
    tmp_path: Path, threads: Threads, action: Action, step: str, seconds: float
) -> None:
    host = Host(tmp_path, config_for(action, tmp_path))
    async with trio.open_nursery() as nursery:
        async with host.daemon() as (lvm, client):
            await begin(lvm, client, action)

            async def act() -> None:
                async with open_client(lvm.socket) as client:
                    with contextlib.suppress(LightVMError):
                        await action(lvm, client)

            go_on = place_of(step, host.hypervisor, threads).hang(step)
            nursery.start_soon(act)
            nursery.start_soon(release_later, go_on, seconds)
            # The daemon stops in a second.
    past = read_journal(host.path)
    known = past.domains.keys() | past.shells.keys()
    assert {domain.uuid.hex() for domain in host.hypervisor.domains.values()} <= known
    async with host.daemon() as (lvm, client):
        await clean_up(lvm, client)
        await assert_nothing_left(lvm)


@pytest.mark.parametrize("memory", [None, 8192])
async def test_a_create_that_is_cancelled_before_the_unpause_makes_no_domain(
    lvm: InMemory, client: Client, memory: int | None
) -> None:
    # An empty pool, so that even what could come from there is made for the request.
    await client.create_many([CreateRequest(image=lvm.noop)] * 4)
    go_on = lvm.hypervisor.hang("prepare")
    request = CreateRequest(image=lvm.noop, name="new", token="t", memory_kib=memory)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lvm.service.creator.create, request)
        await settle(1)
        nursery.cancel_scope.cancel()
        await trio.lowlevel.cancel_shielded_checkpoint()
        go_on.set()
    names = [domain.name for domain in await client.list(all=True)]
    assert len(names) == 4
    assert "new" not in names
    assert lvm.hypervisor.calls["unpause"] == 4
    await assert_nothing_left(lvm)


@pytest.mark.parametrize(
    ("action", "step"),
    [
        (create_pooled_with_devices, "open_disks"),
        (create_pooled_with_devices, "_bind"),
        (create_pooled_with_devices, "bind"),
        (create_cold_with_devices, "open_disks"),
        (create_cold_with_devices, "_connect"),
        (create_cold_with_devices, "_bind"),
    ],
)
async def test_a_create_with_devices_that_is_cancelled_makes_no_domain(
    lvm: InMemory, client: Client, threads: Threads, action: Action, step: str
) -> None:
    go_on = threads.hang(step)
    request = request_with_devices(lvm, cold=action is create_cold_with_devices)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lvm.service.creator.create, request)
        await settle(1)
        nursery.cancel_scope.cancel()
        await trio.lowlevel.cancel_shielded_checkpoint()
        go_on.set()
    assert await client.list(all=True) == ()
    assert lvm.hypervisor.calls["unpause"] == 0
    await assert_nothing_left(lvm)


async def test_a_create_that_is_cancelled_at_once_makes_no_domain(
    lvm: InMemory, client: Client
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await lvm.service.creator.create(CreateRequest(image=lvm.noop, name="new", memory_kib=8192))
    assert scope.cancelled_caught
    assert await client.list(all=True) == ()
    await assert_nothing_left(lvm)


async def test_a_create_that_is_cancelled_while_it_waits_leaves_the_domain(
    lvm: InMemory, client: Client
) -> None:
    request = CreateRequest(
        image=lvm.misbehave, name="new", token="t", cmdline="loop", wait=WaitFor.READY
    )
    with trio.move_on_after(1) as scope:
        await lvm.service.creator.create(request)
    assert scope.cancelled_caught
    assert [domain.name for domain in await client.list()] == ["new"]
    await assert_nothing_left(lvm)


async def test_a_waiter_for_a_token_that_is_cancelled_does_not_take_it(
    lvm: InMemory, client: Client
) -> None:
    go_on = lvm.hypervisor.hang("prepare")
    request = CreateRequest(image=lvm.noop, token="t", memory_kib=8192)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lvm.service.creator.create, request)
        await settle(1)
        with trio.move_on_after(1):
            await lvm.service.creator.create(request)
        go_on.set()
    assert len(await client.list()) == 1
    await assert_nothing_left(lvm)


@pytest.mark.parametrize("step", ["release", "destroy"])
@pytest.mark.parametrize("seconds", [1, 3 * UNDO_SECONDS])
async def test_a_destroy_that_is_cancelled_is_carried_out_all_the_same(
    lvm: InMemory, client: Client, step: str, seconds: float
) -> None:
    await begin(lvm, client)
    domain = lvm.service.registry.find(OLD)
    async with hanging(lvm.hypervisor, step, seconds):
        with trio.move_on_after(0.5), contextlib.suppress(LightVMError):
            await lvm.service.lifecycle.destroy(domain)
    await settle(UNDO_SECONDS)
    await clean_up(lvm, client)
    await assert_nothing_left(lvm)


async def test_a_store_that_hangs_keeps_nobody_waiting(lvm: InMemory, client: Client) -> None:
    # As a store that fails again and again: what a client asks for does not wait for it.
    lvm.store.broken = True
    begun = trio.current_time()
    await client.create(lvm.noop, name="new", wait=WaitFor.READY)
    await client.destroy("new")
    assert trio.current_time() - begun < 0.1
    await settle(30)
    lvm.store.broken = False
    await assert_nothing_left(lvm)


async def test_one_step_that_hangs_does_not_hold_up_other_domains(
    lvm: InMemory, client: Client
) -> None:
    await begin(lvm, client)
    await client.create(lvm.noop, name="other", wait=WaitFor.READY)
    await settle(1)
    go_on = lvm.hypervisor.hang("close_window")
    created = await client.create(lvm.noop, name="hangs")
    await settle(1)
    assert (await client.pause("other")).state == "paused"
    assert (await client.create(lvm.noop, wait=WaitFor.READY)).domain.ready is not None
    assert (await client.destroy(OLD)) is not None
    assert created.domain.domid in lvm.hypervisor.domains
    go_on.set()
    await clean_up(lvm, client)
    await assert_nothing_left(lvm)
