"""Waiting for domains, and watching them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from lightvm import errors
from lightvm.client import Client, open_client
from lightvm.model import EventKind, State, WaitFor
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.unit.daemon.samples import with_limits
from tests.waits import settle


async def test_a_state_that_is_reached_is_not_waited_for(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    begun = trio.current_time()
    assert (await client.wait("web", WaitFor.READY)).state is State.READY
    assert (await client.wait("web", WaitFor.RUNNING)).state is State.READY
    assert trio.current_time() == begun


@pytest.mark.parametrize("until", list(WaitFor))
async def test_a_state_that_does_not_come_is_timed_out(
    lvm: InMemory, client: Client, until: WaitFor
) -> None:
    await client.create(lvm.misbehave, name="web", cmdline="loop", paused=True)
    begun = trio.current_time()
    with pytest.raises(errors.TimedOut) as caught:
        await client.wait("web", until, timeout_ms=2500)
    assert trio.current_time() - begun == pytest.approx(2.5, abs=0.1)
    assert caught.value.where == "web"


async def test_a_timeout_of_0_looks_once(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    with pytest.raises(errors.TimedOut):
        await client.wait("web", timeout_ms=0)
    assert (await client.wait("web", WaitFor.READY, timeout_ms=0)).name == "web"


@pytest.mark.parametrize("timeout_ms", [None, 10**9])
async def test_no_wait_is_longer_than_the_daemon_s_limit(
    tmp_path: Path, threadless: None, timeout_ms: int | None
) -> None:
    config = with_limits(default_config(tmp_path), wait_seconds=7.0)
    async with serve_in_memory(tmp_path, config=config) as lvm, open_client(lvm.socket) as client:
        await client.create(lvm.noop, name="web")
        begun = trio.current_time()
        with pytest.raises(errors.TimedOut):
            await client.wait("web", timeout_ms=timeout_ms)
        assert trio.current_time() - begun == pytest.approx(7.0, abs=0.1)


async def test_an_unpause_is_what_a_wait_for_running_waits_for(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.noop, name="web", paused=True)
    async with trio.open_nursery() as nursery:

        async def unpause() -> None:
            await trio.sleep(3)
            await client.unpause("web")

        nursery.start_soon(unpause)
        assert (await client.wait("web", WaitFor.RUNNING)).state is not State.PAUSED


@pytest.mark.parametrize("until", [WaitFor.RUNNING, WaitFor.READY])
async def test_an_end_ends_a_wait_for_anything_else(
    lvm: InMemory, client: Client, until: WaitFor
) -> None:
    created = await client.create(lvm.misbehave, name="web", cmdline="loop", paused=True)
    async with trio.open_nursery() as nursery:

        async def kill() -> None:
            await trio.sleep(3)
            lvm.hypervisor.kill(created.domain.domid)

        nursery.start_soon(kill)
        with pytest.raises(errors.GuestExited) as caught:
            await client.wait("web", until)
    assert "lost" in caught.value.message


async def test_a_domain_that_was_ready_and_ended_counts_as_having_been_ready(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.hello, name="job")
    await client.wait("job")
    assert (await client.wait("job", WaitFor.READY)).state is State.EXITED
    with pytest.raises(errors.GuestExited):
        await client.wait("job", WaitFor.RUNNING)


async def test_all_who_wait_are_told(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web")
    states = []

    async def wait() -> None:
        states.append((await client.wait("web")).state)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(wait)
        await settle(1)
        await client.destroy("web")
    assert states == [State.EXITED] * 10


async def test_a_watcher_sees_the_life_of_a_domain(lvm: InMemory, client: Client) -> None:
    async with client.watch() as events:
        await client.create(lvm.noop, name="web", wait=WaitFor.READY)
        await client.pause("web")
        await client.unpause("web")
        await client.destroy("web")
        seen = []
        async for event in events:
            assert event.domain is not None
            assert event.domain.name == "web"
            seen.append(event.kind)
            if event.kind is EventKind.DESTROYED:
                break
    assert seen == [
        EventKind.CREATED,
        EventKind.READY,
        EventKind.PAUSED,
        EventKind.UNPAUSED,
        EventKind.EXITED,
        EventKind.DESTROYED,
    ]


async def test_nobody_watching_costs_no_description(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("published to nobody")

    monkeypatch.setattr(type(lvm.service.bus), "publish", fail)
    await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    await client.destroy("web")
