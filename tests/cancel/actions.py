"""What clients and guests do, for tests that disturb it at every step."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from lightvm import calls, wire
from lightvm.client import Client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection
from lightvm.errors import LightVMError, NoDaemon
from lightvm.model import CreateRequest, DiskRequest, ExitReason, Mode, NetRequest, WaitFor
from lightvm.testing import InMemory, default_config
from tests.cancel.device_leftovers import DISK
from tests.waits import settle

OLD = "old"
"""Name of a domain that runs before an action begins."""

Action = Callable[[InMemory, Client], Awaitable[object]]


def _old(lvm: InMemory) -> int:
    return lvm.service.registry.find(OLD).record.domid


async def create_pooled(lvm: InMemory, client: Client) -> None:
    """Create a domain from the pool."""
    await client.create(lvm.noop, name="new", token="t", wait=WaitFor.READY)


async def create_ready_made(lvm: InMemory, client: Client) -> None:
    """Ask for the same until it is there before it is asked for."""
    request = CreateRequest(image=lvm.noop, wait=WaitFor.READY)
    words = wire.encode_call(calls.CREATE, calls.CreateCall(request=request))
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as caller:
            try:
                caller.connect(lvm.socket)
                caller.send(words)
            except OSError as exc:
                raise NoDaemon("it was stopped", lvm.socket) from exc
            caller.setblocking(False)
            with trio.move_on_after(10):
                await trio.lowlevel.wait_readable(caller)
        await settle(1)


async def create_many_ready_made(lvm: InMemory, client: Client) -> None:
    """Ask for several at once until they are there before they are asked for."""
    for _ in range(3):
        for result in await client.create_many(
            [CreateRequest(image=lvm.noop, wait=WaitFor.READY)] * 2
        ):
            if result.created is not None:
                await client.destroy(result.created.domain.uuid)
        await settle(1)


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


def _disk(lvm: InMemory, name: str) -> tuple[DiskRequest, ...]:
    path = lvm.images / f"{DISK}{name}"
    if not path.exists():
        path.write_bytes(bytes(4096))
    return (DiskRequest(path=str(path)),)


def request_with_devices(lvm: InMemory, *, cold: bool) -> CreateRequest:
    """Return a request for a domain with a network and a disk."""
    return CreateRequest(
        image=lvm.noop,
        name="new",
        token="t",
        memory_kib=8192 if cold else None,
        nets=(NetRequest(network="lan", mac="0a:00:00:00:00:01", ipv4="10.0.0.5"),),
        disks=_disk(lvm, "new"),
        wait=WaitFor.READY,
    )


async def create_pooled_with_devices(lvm: InMemory, client: Client) -> None:
    """Create a domain with a network and a disk from the pool."""
    await _create(lvm, client, cold=False)


async def create_cold_with_devices(lvm: InMemory, client: Client) -> None:
    """Create a domain with a network and a disk that no flavor has the shape of."""
    await _create(lvm, client, cold=True)


async def create_in_xenstore_mode(lvm: InMemory, client: Client) -> None:
    """Create a domain that runs before its network is there."""
    nets = [NetRequest(network="lan", mac="0a:00:00:00:00:01", ipv4="10.0.0.5")]
    await client.create(lvm.noop, name="new", token="t", nets=nets, mode=Mode.XENSTORE)


async def _create(lvm: InMemory, client: Client, *, cold: bool) -> None:
    (result,) = await client.create_many([request_with_devices(lvm, cold=cold)])
    if result.failure is not None:
        raise LightVMError(result.failure.message)


async def destroy_with_devices(lvm: InMemory, client: Client) -> None:
    """Destroy a domain with a network and a disk, and give what it had to another."""
    await client.destroy(OLD)
    await client.create(lvm.noop, name="new", disks=_disk(lvm, "old"))


async def guest_ends_with_devices(lvm: InMemory, client: Client) -> None:
    """Let a guest with a network and a disk end with a word."""
    await guest_ends(lvm, client)


async def guest_reboots_with_devices(lvm: InMemory, client: Client) -> None:
    """Let a guest with a network and a disk be started again."""
    lvm.hypervisor.end(_old(lvm), ExitReason.REBOOT, 0)
    await settle(0.5)


async def somebody_kills_with_devices(lvm: InMemory, client: Client) -> None:
    """Let somebody else destroy a domain with a network and a disk."""
    await somebody_kills(lvm, client)


PLAIN_ACTIONS: tuple[Action, ...] = (
    create_ready_made,
    create_many_ready_made,
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
DEVICE_ACTIONS: tuple[Action, ...] = (
    create_pooled_with_devices,
    create_cold_with_devices,
    create_in_xenstore_mode,
    destroy_with_devices,
    guest_ends_with_devices,
    guest_reboots_with_devices,
    somebody_kills_with_devices,
)
ACTIONS = PLAIN_ACTIONS + DEVICE_ACTIONS


def config_for(action: Action | None, directory: Path) -> Config:
    """Return a configuration for an action."""
    config = default_config(directory)
    if action not in DEVICE_ACTIONS:
        return config
    return msgspec.structs.replace(
        config,
        networks={"lan": NetworkSection(bridge="br0", address="10.0.0.1/29", antispoof=True)},
        flavors={"both": FlavorSection(low=1, high=1, networks=("lan",), disks=1)},
    )


def is_full(lvm: InMemory) -> bool:
    """Whether all pools are as full as they get."""
    return not any(pool.filling for pool in lvm.service.pools)


async def begin(lvm: InMemory, client: Client, action: Action | None = None) -> None:
    """Make the domain that an action works on."""
    if action in DEVICE_ACTIONS:
        nets = [NetRequest(network="lan")]
        await client.create(lvm.noop, name=OLD, nets=nets, disks=_disk(lvm, "old"))
    else:
        await client.create(lvm.noop, name=OLD, wait=WaitFor.READY)
    await settle(1)


async def clean_up(lvm: InMemory, client: Client) -> None:
    """Destroy all that is known."""
    for domain in await client.list(all=True):
        await client.destroy(domain.uuid, missing_ok=True)
