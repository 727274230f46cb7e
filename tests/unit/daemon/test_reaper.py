"""The reaper: what happens without a word is noticed soon, and at once where xenstored gives a hint."""

from __future__ import annotations

import pytest
import trio

from lightvm.client import Client
from lightvm.daemon.reaper import SHORTEST_HINTED, SHORTEST_PAUSE
from lightvm.errors import HypercallError, OutOfMemory
from lightvm.model import WaitFor
from lightvm.testing import InMemory
from tests.waits import settle

ERRORS = pytest.mark.parametrize("error", [HypercallError("no", "step"), OutOfMemory("none left")])


@ERRORS
async def test_a_failure_to_look_for_the_ended_is_survived(
    lvm: InMemory, client: Client, error: Exception
) -> None:
    created = await client.create(lvm.noop, name="web")
    lvm.hypervisor.fail("find_changed", error)
    lvm.hypervisor.crash(created.domain.domid)
    await client.wait("web", timeout_ms=2000)


@pytest.mark.parametrize("number", [0, 1, 700])
async def test_the_reaper_looks_at_all_domains_with_one_call(
    lvm: InMemory, client: Client, number: int
) -> None:
    for _ in range(number):
        await client.create(lvm.noop)
    before = lvm.hypervisor.calls["find_changed"]
    await settle(10)
    assert 10 <= lvm.hypervisor.calls["find_changed"] - before <= 41


async def test_a_domain_that_somebody_is_destroying_is_lost(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    lvm.hypervisor.kill(created.domain.domid)
    domain = await client.wait("web")
    assert domain.exit is not None
    assert domain.exit.reason == "lost"
    await settle()
    assert lvm.hypervisor.calls["destroy"] == 0


async def test_a_hint_makes_it_look_at_once(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    await settle(1)
    begun = trio.current_time()
    lvm.hypervisor.crash(created.domain.domid)
    lvm.store.released.set()
    await client.wait("web")
    assert trio.current_time() - begun <= 2 * SHORTEST_HINTED


async def test_a_storm_of_hints_is_looked_after_in_its_time(lvm: InMemory, client: Client) -> None:
    before = lvm.hypervisor.calls["find_changed"]
    for _ in range(1000):
        lvm.store.released.set()
        await trio.sleep(0.001)
    assert lvm.hypervisor.calls["find_changed"] - before <= 1 / SHORTEST_HINTED + 2


async def test_without_hints_it_looks_all_the_same(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    lvm.store.broken = True
    lvm.store.released.set()
    await settle(1)
    lvm.hypervisor.crash(created.domain.domid)
    with trio.fail_after(2 * SHORTEST_PAUSE):
        await client.wait("web")
    lvm.store.broken = False
