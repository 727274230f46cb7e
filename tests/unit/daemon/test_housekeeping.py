"""What a create leaves for later."""

from __future__ import annotations

import pytest
import trio

from lightvm.client import Client
from lightvm.daemon.housekeeping import PATIENCE_SECONDS
from lightvm.daemon.quiet import QUIET_SECONDS
from lightvm.errors import HypercallError, OutOfMemory
from lightvm.model import WaitFor
from lightvm.testing import InMemory
from tests.waits import settle


def windows(lvm: InMemory) -> int:
    """Return how many running domains still have their window."""
    handles = [domain.handle for domain in lvm.hypervisor.domains.values() if domain.started]
    return sum(handle is not None and handle.window for handle in handles)


async def test_a_domain_is_settled_soon_after_it_was_made(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    assert windows(lvm) == 1
    assert lvm.store.nodes == {}
    await trio.sleep(QUIET_SECONDS * 3)
    assert windows(lvm) == 0
    assert lvm.store.nodes == {f"/local/domain/{created.domain.domid}/name": "web"}


async def test_settling_waits_until_no_request_comes(lvm: InMemory, client: Client) -> None:
    for _ in range(20):
        await client.create(lvm.noop)
        await trio.sleep(QUIET_SECONDS / 2)
    assert windows(lvm) == 20
    await settle(1)
    assert windows(lvm) == 0


async def test_settling_does_not_wait_for_ever(lvm: InMemory, client: Client) -> None:
    begun = trio.current_time()
    made = 0
    while trio.current_time() - begun < 3 * PATIENCE_SECONDS:
        await client.create(lvm.noop)
        await trio.sleep(QUIET_SECONDS / 2)
        made += 1
    assert windows(lvm) < made / 2


async def test_a_domain_that_ended_is_not_settled(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="job")
    await client.wait("job")
    await settle()
    assert lvm.store.nodes == {}
    assert lvm.hypervisor.calls["close_window"] == 0


@pytest.mark.parametrize("error", [HypercallError("no"), OutOfMemory("none left")])
async def test_a_window_that_cannot_be_closed_harms_nobody(
    lvm: InMemory, client: Client, error: Exception
) -> None:
    lvm.hypervisor.fail("close_window", error)
    await client.create(lvm.noop, name="a")
    await client.create(lvm.noop, name="b", wait=WaitFor.READY)
    await settle()
    assert windows(lvm) == 1
    assert sorted(lvm.store.nodes.values()) == ["a", "b"]
    await client.destroy("a")


async def test_a_broken_store_delays_neither_creates_nor_destroys(
    lvm: InMemory, client: Client
) -> None:
    lvm.store.broken = True
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    await settle()
    begun = trio.current_time()
    await client.destroy("web")
    await client.create(lvm.noop, name="web")
    assert trio.current_time() - begun < 1
    lvm.store.broken = False
    await settle(30)
    assert list(lvm.store.nodes.values()) == ["web"]
    assert f"/local/domain/{created.domain.domid}/name" not in lvm.store.nodes


async def test_the_name_of_a_domain_goes_with_it(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web")
    await settle()
    await client.destroy("web")
    await settle()
    assert lvm.store.nodes == {}
