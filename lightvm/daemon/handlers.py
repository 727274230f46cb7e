"""The methods of ``io.github.lightvm``: each turns its parameters into work and a reply."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import NoReturn

import msgspec
import trio

from lightvm import __version__, calls, wire
from lightvm.daemon.attention import Attention
from lightvm.daemon.batch import create_all
from lightvm.daemon.caller import Caller, Send
from lightvm.daemon.config import Config, read_service
from lightvm.daemon.console_input import attach, write_console
from lightvm.daemon.creator import Creator
from lightvm.daemon.devices import Devices
from lightvm.daemon.doctor import examine
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.events import EventBus
from lightvm.daemon.express import Express
from lightvm.daemon.foreign import Foreigners
from lightvm.daemon.jit.services import JitServices
from lightvm.daemon.journal import Journal
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.power import PowerKeeper
from lightvm.daemon.shells import Pools
from lightvm.daemon.waiting_room import WaitingRoom
from lightvm.daemon.xenstore.names import NameKeeper
from lightvm.errors import (
    BadRequest,
    NoSuchDomain,
    ProtocolError,
)
from lightvm.model import (
    ConsoleChunk,
    Power,
    Version,
)
from lightvm.xen.hypervisor import Hypervisor

CONSOLE_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the handlers work with."""

    config: Config
    hypervisor: Hypervisor
    registry: Registry
    pools: Pools
    creator: Creator
    lifecycle: Lifecycle
    power: PowerKeeper
    services: JitServices
    names: NameKeeper
    foreigners: Foreigners
    devices: Devices
    bus: EventBus
    journal: Journal
    attention: Attention
    express: Express
    stop: trio.Event
    started: float
    waiting_room: WaitingRoom


Handler = Callable[..., Awaitable[msgspec.Struct | None]]
"""Takes service, parameters and caller; returns the last result, or None where it has told the caller already."""


async def _find(service: Service, key: str) -> LiveDomain:
    """Return a domain of ours; raises `NoSuchDomain` and `NotOurs`. No checkpoint where it is found."""
    try:
        return service.registry.find(key)
    except NoSuchDomain:
        raise await service.foreigners.why_not_found(key) from None


async def create(service: Service, call: calls.CreateCall, caller: Caller) -> msgspec.Struct | None:
    """Create one domain, with a ticket where there is one: the engine has not compared the words of this call."""
    creator, request = service.creator, call.request
    begun = service.express.create_together((request,), wire.join_one, caller.tell_reply)
    if caller.unsent is not None:
        return None
    if begun:
        created = await creator.complete(begun[0], caller.until_hangup)
    else:
        created = await creator.create(request, caller.until_hangup)
    return calls.CreateReply(created=created)


async def create_many(
    service: Service, call: calls.CreateManyCall, caller: Caller
) -> msgspec.Struct | None:
    """Create many."""
    if len(call.requests) > service.config.limits.batch:
        raise BadRequest(f"at most {service.config.limits.batch} requests", "requests")
    results = await create_all(service.creator, service.express, call.requests, caller)
    return None if results is None else calls.CreateManyReply(results=results)


async def destroy(
    service: Service, call: calls.DestroyCall, caller: Caller
) -> msgspec.Struct | None:
    """Destroy a domain and forget it. A caller who does not wait is told before the tables are in order again."""
    try:
        domain = await _find(service, call.domain)
    except NoSuchDomain:
        if call.missing_ok:
            return calls.DestroyReply()
        raise

    def tell() -> None:
        caller.tell(calls.DestroyReply(domain=domain.describe()))

    await service.lifecycle.destroy(domain, wait=bool(call.wait), noted=tell)
    if caller.unsent is not None:
        return None
    return calls.DestroyReply(domain=domain.describe())


async def list_domains(service: Service, call: calls.ListCall, caller: Caller) -> msgspec.Struct:
    """List the live domains, with `all` the exited ones too."""
    domains = list(service.registry.live.values())
    if call.all:
        domains += service.registry.exited.values()
    return calls.ListReply(domains=tuple(domain.describe() for domain in domains))


async def foreign(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """List the domains of other toolstacks."""
    return calls.ForeignReply(domains=await service.foreigners.list())


async def info(service: Service, call: calls.DomainCall, caller: Caller) -> msgspec.Struct:
    """Describe one domain, with the latest of its heart while it lives."""
    domain = await _find(service, call.domain)
    described = domain.describe()
    if domain.handle is not None and domain.exit is None:
        heartbeat = service.hypervisor.read_control(domain.handle).heartbeat
        described = msgspec.structs.replace(described, heartbeat=heartbeat)
    return calls.DomainReply(domain=described)


async def pause(service: Service, call: calls.DomainCall, caller: Caller) -> msgspec.Struct:
    """Pause a domain."""
    domain = await _find(service, call.domain)
    await service.lifecycle.pause(domain)
    return calls.DomainReply(domain=domain.describe())


async def unpause(service: Service, call: calls.DomainCall, caller: Caller) -> msgspec.Struct:
    """Unpause a domain."""
    domain = await _find(service, call.domain)
    await service.lifecycle.unpause(domain)
    return calls.DomainReply(domain=domain.describe())


async def stop(service: Service, call: calls.StopCall, caller: Caller) -> msgspec.Struct:
    """Ask a guest to stop."""
    domain = await _find(service, call.domain)
    await caller.until_hangup(
        service.power.stop(
            domain,
            power=call.power or Power.POWEROFF,
            seconds=_seconds(call.timeout_ms),
            force=bool(call.force),
        )
    )
    return calls.DomainReply(domain=domain.describe())


async def restart(service: Service, call: calls.RestartCall, caller: Caller) -> msgspec.Struct:
    """Stop a domain, and start it again."""
    domain = await _find(service, call.domain)
    seconds = _seconds(call.timeout_ms)
    return calls.CreateReply(
        created=await service.power.restart(domain, seconds=seconds, force=bool(call.force))
    )


def _seconds(timeout_ms: int | None) -> float | None:
    if timeout_ms is not None and timeout_ms < 0:
        raise BadRequest("must not be negative", "timeout_ms")
    return None if timeout_ms is None else timeout_ms / 1000


async def console(service: Service, call: calls.ConsoleCall, caller: Caller) -> msgspec.Struct:
    """Read a console, with `follow` and `more` until the domain has ended."""
    if call.offset is not None and call.offset < 0:
        raise BadRequest("must not be negative", "offset")
    if call.follow and caller.send is None:
        raise BadRequest("following needs a call with `more`", "follow")
    if call.attach and not call.follow:
        raise BadRequest("goes with `follow` only", "attach")
    domain = await _find(service, call.domain)
    chunk = _read_console(domain, call.offset)
    if caller.send is None or not call.follow or chunk.ended:
        return chunk
    if not call.attach:
        return await caller.until_hangup(_follow(domain, chunk, caller.send))
    with attach(domain) as writer:
        chunk = msgspec.structs.replace(chunk, writer=writer)
        return await caller.until_hangup(_follow(domain, chunk, caller.send))


async def console_write(
    service: Service, call: calls.ConsoleWriteCall, caller: Caller
) -> msgspec.Struct:
    """Write to a guest's console."""
    domain = await _find(service, call.domain)
    await caller.until_hangup(
        write_console(service.hypervisor, service.lifecycle, domain, call.data, call.writer)
    )
    return calls.ConsoleWriteReply()


async def _follow(domain: LiveDomain, chunk: ConsoleChunk, send: Send) -> ConsoleChunk:
    """Send chunk after chunk; return the last."""
    while not chunk.ended:
        await send(chunk)
        await domain.wait_output(chunk.next)
        chunk = _read_console(domain, chunk.next)
    return chunk


def _read_console(domain: LiveDomain, wanted: int | None) -> ConsoleChunk:
    silent = domain.silent
    offset, data = domain.console.read(wanted, CONSOLE_CHUNK)
    reached = offset + len(data)
    return ConsoleChunk(
        data=data,
        offset=offset,
        next=reached,
        lost=offset - wanted if wanted is not None and wanted < offset else 0,
        ended=silent and reached == domain.console.end,
    )


async def wait(service: Service, call: calls.WaitCall, caller: Caller) -> msgspec.Struct:
    """Wait for a state of a domain."""
    seconds = _seconds(call.timeout_ms)
    domain = await _find(service, call.domain)
    await caller.until_hangup(service.lifecycle.wait(domain, call.until, seconds))
    return calls.DomainReply(domain=domain.describe())


async def watch(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """Tell what happens to all domains, until the caller goes away."""
    if caller.send is None:
        raise BadRequest("watching needs a call with `more`", "more")
    return await caller.until_hangup(_tell_events(service.bus, caller.send))


async def _tell_events(bus: EventBus, send: Send) -> NoReturn:
    with bus.watch() as watcher:
        await send(calls.WatchReply())
        while True:
            await send(calls.WatchReply(event=await watcher.next()))


async def flavors(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """List the flavors."""
    return calls.FlavorsReply(flavors=service.config.flavor_list())


async def pool_status(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """Describe the pools."""
    count = service.express.tickets.count
    return calls.PoolStatusReply(pools=tuple(pool.describe(count(pool)) for pool in service.pools))


async def services(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """Describe the services."""
    return calls.ServicesReply(services=service.services.describe())


async def add_service(
    service: Service, call: calls.AddServiceCall, caller: Caller
) -> msgspec.Struct:
    """Add a service."""
    await service.services.add(call.service.name, read_service(call.service))
    return calls.AddServiceReply()


async def remove_service(
    service: Service, call: calls.RemoveServiceCall, caller: Caller
) -> msgspec.Struct:
    """Remove a service that was added."""
    await service.services.remove(call.name)
    return calls.RemoveServiceReply()


async def doctor(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """Look for leaks."""
    findings = await examine(
        hypervisor=service.hypervisor,
        registry=service.registry,
        pools=service.pools,
        lifecycle=service.lifecycle,
        names=service.names,
        devices=service.devices,
        past=service.journal.past,
    )
    return calls.DoctorReply(findings=findings)


async def version(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """Say what runs here."""
    versions = service.hypervisor.versions
    return Version(
        version=__version__,
        xen=versions.xen,
        domctl=versions.domctl,
        sysctl=versions.sysctl,
        uptime_s=round(time.monotonic() - service.started, 3),
        domains=len(service.registry),
        shells=service.pools.count(),
    )


async def get_info(service: Service, call: calls.Nothing, caller: Caller) -> msgspec.Struct:
    """Answer ``org.varlink.service.GetInfo``."""
    return calls.GetInfoReply(
        vendor="LightVM for Python",
        product="lightvmd",
        version=__version__,
        url="",  # the project has no address of its own yet
        interfaces=(calls.SERVICE, calls.INTERFACE),
    )


async def get_interface_description(
    service: Service, call: calls.GetInterfaceDescriptionCall, caller: Caller
) -> msgspec.Struct:
    """Answer ``org.varlink.service.GetInterfaceDescription``."""
    if call.interface not in (calls.SERVICE, calls.INTERFACE):
        raise ProtocolError("no such interface", call.interface)
    text = files("lightvm").joinpath(f"{call.interface}.varlink").read_text("utf-8")
    return calls.GetInterfaceDescriptionReply(description=text)


HANDLERS: dict[str, Handler] = {
    calls.CREATE.name: create,
    calls.CREATE_MANY.name: create_many,
    calls.DESTROY.name: destroy,
    calls.LIST.name: list_domains,
    calls.FOREIGN.name: foreign,
    calls.INFO.name: info,
    calls.PAUSE.name: pause,
    calls.UNPAUSE.name: unpause,
    calls.STOP.name: stop,
    calls.RESTART.name: restart,
    calls.CONSOLE.name: console,
    calls.CONSOLE_WRITE.name: console_write,
    calls.WAIT.name: wait,
    calls.WATCH.name: watch,
    calls.FLAVORS.name: flavors,
    calls.POOL_STATUS.name: pool_status,
    calls.SERVICES.name: services,
    calls.ADD_SERVICE.name: add_service,
    calls.REMOVE_SERVICE.name: remove_service,
    calls.DOCTOR.name: doctor,
    calls.VERSION.name: version,
    calls.GET_INFO.name: get_info,
    calls.GET_INTERFACE_DESCRIPTION.name: get_interface_description,
}
