"""All services: each with its listener, and once a second a look at who is idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NoReturn

import structlog
import trio

from lightvm.daemon.config import Config
from lightvm.daemon.creator import Creator
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import Registry
from lightvm.daemon.jit.listener import Wires
from lightvm.daemon.jit.service import JitService
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.errors import LinkFailed
from lightvm.model import ServiceStatus

log = structlog.get_logger()

LOOK_SECONDS = 1.0


class JitServices:
    """The services of the configuration at work."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        creator: Creator,
        lifecycle: Lifecycle,
        devices: Devices,
    ) -> None:
        self._registry = registry
        self._devices = devices
        self._services = [
            JitService(
                name, section, devices.networks[section.network], registry, creator, lifecycle
            )
            for name, section in config.services.items()
            if section.addresses
        ]

    def __iter__(self) -> Iterator[JitService]:
        return iter(self._services)

    def describe(self) -> tuple[ServiceStatus, ...]:
        """Return the services as callers see them."""
        return tuple(service.describe() for service in self)

    async def serve(self, wires: Wires, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """Serve until the scope that is told as started is cancelled; what runs then, runs on.

        Takes domains of a former daemon over. Raises `LinkFailed` where a bridge cannot be listened at.
        """
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for service in self:
                    service.start(nursery)
                    service.adopt(self._registry.live.values())
                    await nursery.start(self._listen, service, wires)
                if self._services:
                    nursery.start_soon(self._look_around)
                task_status.started(scope)

    async def _listen(
        self, service: JitService, wires: Wires, *, task_status: trio.TaskStatus[None]
    ) -> NoReturn:
        """Give a service its frames, for ever. A wire that fails later than at first is opened again."""
        listening = False
        network = service.network
        while True:
            try:
                with closing(wires.open_wire(service.ranges)) as service.wire:
                    await self._devices.add_port(network.name, service.wire.device)
                    if not listening:
                        task_status.started()
                        listening = True
                    while True:
                        service.note(await service.wire.receive())
            except LinkFailed as exc:
                if not listening:
                    raise
                log.warning("not-listening", service=service.name, error=str(exc))
                await trio.sleep(LOOK_SECONDS)

    async def _look_around(self) -> NoReturn:
        """Look once a second how much each domain has sent, and destroy the idle ones."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            ports = [port for service in self for port in service.ports()]
            counts = await trio.to_thread.run_sync(self._devices.networks.count_sent, ports)
            sent = dict(zip(ports, counts, strict=True))
            for service in self:
                service.look(sent)
