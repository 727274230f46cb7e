"""Values for the tests of the daemon."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from lightvm.daemon.config import Config, FlavorSection, Limits, NetworkSection, PoolLimits
from lightvm.daemon.console import ConsoleBuffer
from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.journal import DomainRecord
from lightvm.model import CreateRequest, Exit, ExitReason
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.waits import until


def record(name: str = "web", *, domid: int = 7, uuid: str | None = None) -> DomainRecord:
    """Return the journal's record of a domain."""
    return DomainRecord(
        uuid=uuid or os.urandom(16).hex(),
        domid=domid,
        console_port=1,
        control_port=2,
        name=name,
        flavor="tiny",
        memory_kib=4096,
        vcpus=1,
        created=1.5,
        request=CreateRequest(image="/k"),
    )


def live_domain(name: str = "web", *, domid: int = 7, uuid: str | None = None) -> LiveDomain:
    """Return a domain that nothing is behind."""
    return LiveDomain(record(name, domid=domid, uuid=uuid), None, ConsoleBuffer(1024))


def exited_domain(name: str = "web", *, domid: int = 7, seconds_ago: float = 0.0) -> LiveDomain:
    """Return a domain that ended some time ago."""
    domain = live_domain(name, domid=domid)
    domain.exit = Exit(reason=ExitReason.POWEROFF, at=time.time() - seconds_ago)
    return domain


def make_config(
    *,
    limits: Limits | None = None,
    pool: PoolLimits | None = None,
    **flavors: FlavorSection,
) -> Config:
    """Return a configuration with these flavors and no memory floor."""
    return Config(
        limits=limits or Limits(),
        pool=pool or PoolLimits(memory_floor_mib=0),
        flavors=flavors,
    )


def with_limits(config: Config, **limits: object) -> Config:
    """Return a configuration with some limits changed."""
    changed = msgspec.structs.replace(config.limits, **limits)
    return msgspec.structs.replace(config, limits=changed)


def with_pool(config: Config, **pool: object) -> Config:
    """Return a configuration with some settings of the pools changed."""
    return msgspec.structs.replace(config, pool=msgspec.structs.replace(config.pool, **pool))


def with_devices(config: Config) -> Config:
    """Return a configuration with a network, and a flavor each with a vif, with a disk and with both."""
    shape = FlavorSection(memory_kib=4096, low=1, high=1)
    return msgspec.structs.replace(
        config,
        networks={"lan": NetworkSection(bridge="br0", address="10.0.0.1/29")},
        flavors={
            **config.flavors,
            "net": msgspec.structs.replace(shape, networks=("lan",)),
            "disk": msgspec.structs.replace(shape, disks=1),
            "both": msgspec.structs.replace(shape, networks=("lan",), disks=1),
        },
    )


@asynccontextmanager
async def serve_with_devices(directory: Path) -> AsyncIterator[InMemory]:
    """Serve in memory `with_devices`, its pools full."""
    config = with_devices(default_config(directory))
    async with serve_in_memory(directory, config=config) as served:
        await until(lambda: not any(pool.filling for pool in served.service.pools))
        yield served
