"""All services: each with its listener, and once a second a look at who is idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import NoReturn

import structlog
import trio

from lightvm.daemon.config import Config
from lightvm.daemon.creator import Creator
from lightvm.daemon.domains import Registry
from lightvm.daemon.jit.listener import Wire, Wires
from lightvm.daemon.jit.service import JitService
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.net.networks import Networks
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
        networks: Networks,
    ) -> None:
        self._registry = registry
        self._networks = networks
        self._services = [
            JitService(name, section, networks[section.network], registry, creator, lifecycle)
            for name, section in config.services.items()
            if section.addresses
        ]
        for service in self:
            networks.keep_for(service.name, service.network.name, service.ranges)

    def __iter__(self) -> Iterator[JitService]:
        return iter(self._services)

    def describe(self) -> tuple[ServiceStatus, ...]:
        """Return the services as callers see them."""
        return tuple(service.describe() for service in self)

    async def serve(self, wires: Wires, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """Serve until the scope that is told as started is cancelled; what runs then, runs on.

        Takes domains of a former daemon over. Raises `LinkFailed` where a bridge cannot be listened at.
        """
        with ExitStack() as opened, trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for service in self:
                    wire = wires.open_wire(
                        service.network.bridge, service.network.mtu, service.ranges
                    )
                    opened.enter_context(closing(wire))
                    service.start(wire, nursery)
                    service.adopt(self._registry.live.values())
                    nursery.start_soon(listen, service, wire)
                if self._services:
                    nursery.start_soon(self._look_around)
                task_status.started(scope)

    async def _look_around(self) -> NoReturn:
        """Look once a second how much each domain has sent, and destroy the idle ones."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            ports = [port for service in self for port in service.ports()]
            counts = await trio.to_thread.run_sync(self._networks.count_sent, ports)
            sent = dict(zip(ports, counts, strict=True))
            for service in self:
                service.look(sent)


async def listen(service: JitService, wire: Wire) -> NoReturn:
    """Give a service its frames, for ever; a wire that fails is tried again."""
    while True:
        try:
            service.note(await wire.receive())
        except LinkFailed as exc:
            log.warning("not-listening", service=service.name, error=str(exc))
            await trio.sleep(LOOK_SECONDS)
