"""All services: those of the configuration, and those that are added and removed while the daemon runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NoReturn

import structlog
import trio

from lightvm.daemon.caller import stopping
from lightvm.daemon.config import Config, ServiceSection, check_service
from lightvm.daemon.creator import Creator
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.jit.listener import Wire, Wires
from lightvm.daemon.jit.service import DESTROYED_AT_ONCE, JitService, served_address
from lightvm.daemon.journal import Journal, ServiceGoneRecord, ServiceRecord
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.net.filters import ServiceRange
from lightvm.daemon.shell_maker import UNDO_SECONDS
from lightvm.errors import (
    JournalFailed,
    LightVMError,
    LinkFailed,
    NameTaken,
    NoSuchService,
    NotRemovable,
    RequestError,
)
from lightvm.model import ExitReason, ServiceStatus

log = structlog.get_logger()

LOOK_SECONDS = 1.0


class JitServices:
    """The services at work. One is added or removed at a time."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        creator: Creator,
        lifecycle: Lifecycle,
        devices: Devices,
        journal: Journal,
    ) -> None:
        """Keep the addresses of the services that are there from the start, but serve none yet."""
        self._config = config
        self._registry = registry
        self._creator = creator
        self._lifecycle = lifecycle
        self._devices = devices
        self._journal = journal
        self._services: dict[str, JitService] = {}
        self._changing = trio.Lock()
        self._wires: Wires
        self._nursery: trio.Nursery | None = None
        """Where services are served, while any is."""
        for name, section in config.services.items():
            if section.addresses:
                self._enter(name, section)
        for record in journal.past.services.values():
            self._restore(record)

    def __iter__(self) -> Iterator[JitService]:
        return iter(self._services.values())

    def describe(self) -> tuple[ServiceStatus, ...]:
        """Return the services as callers see them."""
        return tuple(service.describe() for service in self)

    async def _changed(self) -> None:
        """Keep ARP requests for services, and for no other addresses, from other guests; raises `LinkFailed`."""
        await self._devices.note_services(list(self._ranges()))

    # Which services there are

    def _enter(self, name: str, section: ServiceSection) -> JitService:
        """Enter a service: from here on its addresses are nobody else's."""
        network = self._devices.networks[section.network]
        service = JitService(name, section, network, self._registry, self._creator, self._lifecycle)
        self._devices.networks.keep_for(name, network.name, service.ranges)
        self._services[name] = service
        return service

    async def _leave(self, service: JitService) -> None:
        """Let go of a service and its addresses; whoever has to know is told, shielded and bounded."""
        del self._services[service.name]
        self._devices.networks.let_go(service.name, service.network.name)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + UNDO_SECONDS):
            try:
                await self._changed()
            except LinkFailed as exc:
                log.error("service-left-behind", service=service.name, error=str(exc))

    def _restore(self, record: ServiceRecord) -> None:
        """Enter a service that was added to a former daemon.

        One that the configuration has by now is the configuration's. One that does not go with it any more is not
        served, but stays in the journal.
        """
        if record.removing or record.name in self._config.services:
            return
        try:
            check_service(record.section, self._config, self._ranges(), "service")
        except RequestError as exc:
            log.error("service-not-restored", service=record.name, error=str(exc))
            return
        self._enter(record.name, record.section)

    def _ranges(self) -> Iterator[ServiceRange]:
        for service in self:
            for part in service.ranges:
                yield ServiceRange(service.network.bridge, part)

    # Serving

    async def serve(self, wires: Wires, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """Serve until the scope that is told as started is cancelled; what runs then, runs on.

        Takes domains of a former daemon over. Raises `LinkFailed` where a bridge cannot be listened at.
        """
        self._wires = wires
        try:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await self._changed()
                    for service in self:
                        self._start(service, await self._listen(service), nursery)
                    nursery.start_soon(self._look_around)
                    nursery.start_soon(self._tidy)
                    task_status.started(scope)
        finally:
            self._nursery = None

    def _start(self, service: JitService, wire: Wire, nursery: trio.Nursery) -> None:
        nursery.start_soon(service.serve, wire, partial(self._listen, service))

    async def _listen(self, service: JitService) -> Wire:
        """Open what a service hears by; raises `LinkFailed`."""
        wire = await trio.to_thread.run_sync(self._wires.open_wire, service.ranges)
        try:
            await self._devices.add_port(service.network.name, wire.device)
        except BaseException:
            wire.close()
            raise
        return wire

    async def _look_around(self) -> NoReturn:
        """Look once a second how much each domain has sent, and destroy the idle ones."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            ports = [port for service in self for port in service.ports()]
            sent: dict[str, int | None] = {}
            if ports:
                counts = await trio.to_thread.run_sync(self._devices.networks.count_sent, ports)
                sent.update(zip(ports, counts, strict=True))
            for service in self:
                service.look(sent)

    # Changes

    async def add(self, name: str, section: ServiceSection) -> None:
        """Add a service, and serve it.

        Raises `NameTaken`, `AddressTaken`, what `check_service` raises, `LinkFailed`, `JournalFailed` and
        `StoppingNow`. Failed or cancelled, it leaves nothing.
        """
        async with self._changing:
            service = await self._lifecycle.burials.retry_after_each(
                lambda: self._check_and_enter(name, section), self._config.limits.create_seconds
            )
            wire = None
            try:
                await self._changed()
                wire = await self._listen(service)
                if self._nursery is None:
                    raise stopping()
                self._journal.append(ServiceRecord(name=name, section=section))
            except BaseException:
                if wire is not None:
                    wire.close()
                await self._leave(service)
                raise
            self._start(service, wire, self._nursery)

    def _check_and_enter(self, name: str, section: ServiceSection) -> JitService:
        self._check(name, section)
        return self._enter(name, section)

    def _check(self, name: str, section: ServiceSection) -> None:
        """Raise what is wrong with a service that is to be added."""
        if name in self._config.services or name in self._journal.past.services:
            raise NameTaken("another service has that name", name)
        where = "service"
        ranges = check_service(section, self._config, self._ranges(), where)
        own = [served_address(domain.record, name) for domain in self._domains(name)]
        self._devices.networks.check_free(
            section.network, [part for _, part in ranges], own, f"{where}.addresses"
        )

    async def remove(self, name: str) -> None:
        """Remove a service that was added, and destroy its domains.

        Raises `NoSuchService`, `NotRemovable` and `JournalFailed`, and has changed nothing then. Cancelled, it can be
        removed again; the next daemon does that by itself.
        """
        async with self._changing:
            if name in self._config.services:
                raise NotRemovable("a service of the configuration: take it out there", name)
            record = self._journal.past.services.get(name)
            if record is None:
                raise NoSuchService("there is no service of that name", name)
            self._journal.append(ServiceRecord(name=name, section=record.section, removing=True))
            await self._finish_removal(name)

    async def _finish_removal(self, name: str) -> None:
        service = self._services.get(name)
        if service is not None:
            await service.stop()
        await self._destroy_all(name)
        if service is not None:
            await self._leave(service)
        self._strike(name)

    def _strike(self, name: str) -> None:
        """Strike a service out of the journal; where that fails, the next daemon does it."""
        try:
            self._journal.append(ServiceGoneRecord(name=name))
        except JournalFailed as exc:
            log.error("removal-not-journalled", service=name, error=str(exc))

    async def _tidy(self) -> None:
        """Bring to an end what a former daemon began, and strike out what is the configuration's by now."""
        async with self._changing:
            for record in list(self._journal.past.services.values()):
                if record.name in self._config.services:
                    self._strike(record.name)
                elif record.removing:
                    await self._finish_removal(record.name)

    async def _destroy_all(self, name: str) -> None:
        """Destroy the domains of a service; one with which that fails is Doctor's."""
        limiter = trio.CapacityLimiter(DESTROYED_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for domain in self._domains(name):
                nursery.start_soon(self._destroy, domain, limiter)

    async def _destroy(self, domain: LiveDomain, limiter: trio.CapacityLimiter) -> None:
        registry, uuid = self._registry, domain.record.uuid
        async with limiter:
            if uuid not in registry.live and uuid not in registry.exited:
                return  # somebody else has destroyed it
            try:
                await self._lifecycle.destroy(domain)
            except LightVMError as exc:
                log.error("not-destroyed", domain=domain.record.name, error=str(exc))

    def _domains(self, name: str) -> list[LiveDomain]:
        """Return the domains of a service that live or are being destroyed."""
        registry = self._registry
        return [
            domain
            for domain in [*registry.live.values(), *registry.exited.values()]
            if served_address(domain.record, name) is not None
            and (domain.exit is None or domain.exit.reason is ExitReason.DESTROYED)
        ]
