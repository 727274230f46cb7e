"""What tests of services that are added and removed share."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lightvm.client import Client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection, ServiceSection
from lightvm.daemon.jit.listener import MemoryWire
from lightvm.daemon.jit.service import DESTROYED_AT_ONCE
from lightvm.model import ServiceRequest
from lightvm.testing import InMemory, default_config
from tests.unit.daemon.jit.samples import arp, number
from tests.waits import until

IDLE = 10.0
BRIDGE = "lvbr0"
FIRST = "10.77.0.64"
ADDRESSES = ("10.77.0.64/28", "10.77.0.90")


def make_config(directory: Path) -> Config:
    """Return a configuration with a service at 10.77.0.16 to 10.77.0.31, and one that is off."""
    return msgspec.structs.replace(
        default_config(directory),
        networks={
            "lan": NetworkSection(bridge=BRIDGE, address="10.77.0.1/24"),
            "bare": NetworkSection(bridge="lvbr1"),
        },
        flavors={"net": FlavorSection(low=2, high=4, networks=("lan",)), "plain": FlavorSection()},
        services={
            "fixed": ServiceSection(
                image=str(directory / "noop"), network="lan", addresses=("10.77.0.16/28",)
            ),
            "off": ServiceSection(),
        },
    )


async def add(lvm: InMemory, client: Client, name: str = "web", **changed: object) -> None:
    """Add a service, by default at `ADDRESSES`."""
    service = ServiceRequest(
        name=name, image=lvm.noop, network="lan", addresses=ADDRESSES, idle_seconds=IDLE
    )
    await client.add_service(**msgspec.structs.asdict(msgspec.structs.replace(service, **changed)))


def wires(lvm: InMemory) -> dict[int, MemoryWire]:
    """Return what listens, by the first address."""
    return {wire.ranges[0].start: wire for wire in lvm.wires.wires if not wire.closed}


def deliver(lvm: InMemory, target: str) -> None:
    wires(lvm)[number(FIRST)].deliver(arp(target))


def names(lvm: InMemory) -> list[str]:
    return [service.name for service in lvm.service.services.describe()]


def live(lvm: InMemory) -> set[str]:
    return {domain.record.name for domain in lvm.service.registry.live.values()}


async def wait_live(lvm: InMemory, *wanted: str) -> None:
    await until(
        lambda: (
            live(lvm) == set(wanted)
            and all(domain.ready is not None for domain in lvm.service.registry.live.values())
        )
    )


def state(lvm: InMemory) -> object:
    """Return all that a service changes."""
    pool = lvm.service.devices.networks["lan"].pool
    assert pool is not None
    return (
        names(lvm),
        list(lvm.filters.services),
        dict(pool._kept),
        pool._size,
        set(wires(lvm)),
        dict(lvm.service.journal.past.services),
        live(lvm),
    )


async def make_more_than_are_destroyed_at_once(lvm: InMemory) -> None:
    targets = [f"10.77.0.{64 + number}" for number in range(DESTROYED_AT_ONCE + 1)]
    for target in targets:
        deliver(lvm, target)
    await wait_live(lvm, *(f"web-{target}" for target in targets))
