"""What clients and guests do, for tests that disturb it at every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lightvm.client import Client
from lightvm.model import CreateRequest, ExitReason, WaitFor
from lightvm.testing import InMemory
from tests.waits import settle

OLD = "old"
"""Name of a domain that runs before an action begins."""

Action = Callable[[InMemory, Client], Awaitable[object]]


def _old(lvm: InMemory) -> int:
    return lvm.service.registry.find(OLD).record.domid


async def create_pooled(lvm: InMemory, client: Client) -> None:
    """Create a domain from the pool."""
    await client.create(lvm.noop, name="new", token="t", wait=WaitFor.READY)


async def create_cold(lvm: InMemory, client: Client) -> None:
    """Create a domain that no flavor has the shape of."""
    await client.create(lvm.noop, name="new", token="t", memory_kib=8192)


async def create_more_than_the_pool_has(lvm: InMemory, client: Client) -> None:
    """Empty the pool, so that it is refilled meanwhile."""
    await client.create_many([CreateRequest(image=lvm.noop)] * 6)


async def create_short_lived(lvm: InMemory, client: Client) -> None:
    """Create a domain that ends at once."""
    await client.create(lvm.hello, name="new")
    await client.wait("new", timeout_ms=5000)


async def destroy(lvm: InMemory, client: Client) -> None:
    """Destroy a running domain."""
    await client.destroy(OLD)


async def destroy_ended(lvm: InMemory, client: Client) -> None:
    """Destroy a domain that has ended."""
    lvm.hypervisor.crash(_old(lvm))
    await client.wait(OLD, timeout_ms=5000)
    await client.destroy(OLD)


async def pause_and_unpause(lvm: InMemory, client: Client) -> None:
    """Pause a domain for a while."""
    await client.pause(OLD)
    await client.unpause(OLD)


async def guest_ends(lvm: InMemory, client: Client) -> None:
    """Let a guest end with a word."""
    lvm.hypervisor.say(_old(lvm), b"bye")
    lvm.hypervisor.end(_old(lvm), ExitReason.POWEROFF, 1)
    await client.wait(OLD, timeout_ms=5000)


async def guest_crashes(lvm: InMemory, client: Client) -> None:
    """Let a guest end without a word."""
    lvm.hypervisor.crash(_old(lvm))
    await client.wait(OLD, timeout_ms=5000)


async def somebody_kills(lvm: InMemory, client: Client) -> None:
    """Let somebody else destroy a domain."""
    lvm.hypervisor.kill(_old(lvm))
    await client.wait(OLD, timeout_ms=5000)


async def look(lvm: InMemory, client: Client) -> None:
    """Ask for what there is."""
    await client.doctor()
    await client.list(all=True)
    await client.console_read(OLD)


ACTIONS: tuple[Action, ...] = (
    create_pooled,
    create_cold,
    create_more_than_the_pool_has,
    create_short_lived,
    destroy,
    destroy_ended,
    pause_and_unpause,
    guest_ends,
    guest_crashes,
    somebody_kills,
    look,
)


async def begin(lvm: InMemory, client: Client) -> None:
    """Make the domain that the actions work on."""
    await client.create(lvm.noop, name=OLD, wait=WaitFor.READY)
    await settle(1)


async def clean_up(lvm: InMemory, client: Client) -> None:
    """Destroy all that is known."""
    for domain in await client.list(all=True):
        await client.destroy(domain.uuid, missing_ok=True)
