"""A create with a token is carried out once."""

from __future__ import annotations

import pytest
import trio

from lightvm import errors
from lightvm.client import Client
from lightvm.model import Created, Source, State, WaitFor
from lightvm.testing import InMemory
from tests.waits import settle, until


async def test_the_same_token_gives_the_same_domain(lvm: InMemory, client: Client) -> None:
    first = await client.create(lvm.noop, token="t")
    second = await client.create(lvm.noop, token="t", name="other")
    assert second.source is Source.EXISTING
    assert second.domain.uuid == first.domain.uuid
    assert len(await client.list()) == 1


async def test_a_create_that_is_asked_for_again_waits_as_it_is_told(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.misbehave, token="t", name="slow", cmdline="loop")
    with pytest.raises(errors.TimedOut):
        await client.create(lvm.misbehave, token="t", wait=WaitFor.READY, timeout_ms=100)
    await client.create(lvm.hello, token="u", name="job")
    await client.wait("job")
    again = await client.create(lvm.hello, token="u", wait=WaitFor.READY)
    assert again.domain.exit is not None  # told as it is: it may have been ready


async def test_another_token_gives_another_domain(lvm: InMemory, client: Client) -> None:
    first = await client.create(lvm.noop, token="t")
    second = await client.create(lvm.noop, token="u")
    assert first.domain.uuid != second.domain.uuid


async def test_creates_at_once_with_one_token_make_one_domain(
    lvm: InMemory, client: Client
) -> None:
    made: list[Created] = []

    async def create() -> None:
        made.append(await client.create(lvm.noop, token="t", memory_kib=8192))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(create)
    assert len({created.domain.uuid for created in made}) == 1
    assert sorted(created.source for created in made) == [Source.COLD] + [Source.EXISTING] * 4


async def test_a_create_that_failed_gives_its_token_to_the_next(
    lvm: InMemory, client: Client
) -> None:
    lvm.hypervisor.fail("prepare")
    failures: list[errors.LightVMError] = []

    async def create() -> None:
        try:
            await client.create(lvm.noop, token="t", memory_kib=8192)
        except errors.HypercallError as exc:
            failures.append(exc)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(create)
    assert len(failures) == 1
    assert len(await client.list()) == 1


async def test_the_token_of_an_exited_domain_still_leads_to_it(
    lvm: InMemory, client: Client
) -> None:
    first = await client.create(lvm.hello, token="t")
    await client.wait(first.domain.name)
    again = await client.create(lvm.hello, token="t")
    assert again.source is Source.EXISTING
    assert again.domain.state is State.EXITED


async def test_a_destroyed_domain_gives_its_token_up(lvm: InMemory, client: Client) -> None:
    first = await client.create(lvm.noop, token="t")
    await client.destroy(first.domain.name)
    again = await client.create(lvm.noop, token="t")
    assert again.source is Source.POOL
    assert again.domain.uuid != first.domain.uuid


async def test_a_guest_that_did_not_become_ready_keeps_its_token(
    lvm: InMemory, client: Client
) -> None:
    with pytest.raises(errors.TimedOut):
        await client.create(lvm.misbehave, cmdline="loop", token="t", wait=WaitFor.READY)
    again = await client.create(lvm.misbehave, cmdline="loop", token="t")
    assert again.source is Source.EXISTING


async def test_a_create_whose_domain_was_destroyed_does_not_give_up_the_token_of_the_next(
    lvm: InMemory, client: Client
) -> None:
    made: list[Created] = []

    async def create_first() -> None:
        with pytest.raises((errors.TimedOut, errors.GuestExited)):
            await client.create(
                lvm.misbehave, name="first", cmdline="loop", token="t", wait=WaitFor.READY
            )

    async def create_cold() -> None:
        made.append(await client.create(lvm.noop, token="t", memory_kib=8192))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create_first)
        await until(lambda: lvm.service.registry.live)
        # The second claims the token in the moment after the first gave it up, while the first still returns.
        lifecycle = lvm.service.lifecycle
        (domain,) = lvm.service.registry.live.values()
        await until(lambda: domain._lot)
        go_on = lvm.hypervisor.hang("prepare")
        lifecycle.forget(domain)
        nursery.start_soon(create_cold)
        await settle(10)
        nursery.start_soon(create_cold)
        await settle(1)
        go_on.set()
    assert len({created.domain.uuid for created in made}) == 1
