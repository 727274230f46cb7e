"""The trio client.

There is no background task and no nursery in it, so a caller never sees an exception group. Tasks
may share one client: each call in flight has a connection of its own, taken from the idle ones or
newly opened. A call that is cancelled or fails half-way closes its connection, so what the daemon
still answers there reaches nobody.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, Self, TypeVar

import trio
from msgspec.structs import replace

from lightvm import calls, errors
from lightvm.calls import Method, P, R
from lightvm.connection import Connections
from lightvm.endpoint import socket_path
from lightvm.model import (
    ConsoleChunk,
    Created,
    CreateRequest,
    CreateResult,
    DiskRequest,
    Domain,
    Event,
    Finding,
    Flavor,
    ForeignDomain,
    Mode,
    NetRequest,
    Policy,
    Pool,
    Power,
    ServiceRequest,
    ServiceStatus,
    Version,
    WaitFor,
)

T = TypeVar("T")


@asynccontextmanager
async def open_client(path: str | os.PathLike[str] | None = None) -> AsyncIterator[Client]:
    """Connect to the daemon for the duration of a block.

    Without `path`, the environment's LIGHTVM_SOCKET counts, or else `DEFAULT_SOCKET`. Raises
    `NoDaemon` at once where nobody listens there. Leaving the block closes all connections; domains
    are not touched by that.
    """
    client = Client(path)
    try:
        await client.connect()
        yield client
    finally:
        await client.aclose()


class Client:
    """A daemon to call. Get one from `open_client`.

    Every method is a checkpoint and raises what the daemon answers, as an error of
    `lightvm.errors`, or `ConnectionLost` or `ProtocolError`. Bound the time of a call with
    `trio.fail_after`. After a cancelled call it is not known whether the daemon carried it out,
    unless the call never left: a call made in a cancelled scope is not sent at all. After `aclose`,
    calls raise `trio.ClosedResourceError`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Name the daemon's socket, as for `open_client`, without connecting to it."""
        self._connections = Connections(socket_path(path))

    async def connect(self) -> None:
        """Open a connection ahead of the first call; raises `NoDaemon`."""
        self._connections.give_back(await self._connections.open())
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close all connections; calls in flight raise `trio.ClosedResourceError`."""
        self._connections.close()
        await trio.lowlevel.checkpoint()

    async def create(
        self,
        image: str,
        *,
        name: str | None = None,
        flavor: str | None = None,
        mode: Mode | None = None,
        memory_kib: int | None = None,
        vcpus: int | None = None,
        cpus: Sequence[str] | None = None,
        cpu_weight: int | None = None,
        cpu_cap: int | None = None,
        cmdline: str | None = None,
        modules: Sequence[str] | None = None,
        nets: Sequence[NetRequest] | None = None,
        disks: Sequence[DiskRequest] | None = None,
        metadata: bytes | None = None,
        on_poweroff: Policy | None = None,
        on_reboot: Policy | None = None,
        on_crash: Policy | None = None,
        paused: bool | None = None,
        cold: bool | None = None,
        wait: WaitFor | None = None,
        timeout_ms: int | None = None,
        token: str | None = None,
    ) -> Created:
        """Create a domain from the kernel file `image`, an absolute path on the daemon's host.

        With `wait` the reply comes when the guest has got that far, within `timeout_ms`. A
        cancelled create may have made the domain; with the same `token` it can be asked for again,
        and gives the same domain.
        """
        request = CreateRequest(  # with more than 15 keywords, a call costs several times as much
            image=image,
            name=name,
            flavor=flavor,
            mode=mode,
            memory_kib=memory_kib,
            vcpus=vcpus,
            cmdline=cmdline,
            modules=None if modules is None else tuple(modules),
            nets=None if nets is None else tuple(nets),
            disks=None if disks is None else tuple(disks),
            metadata=metadata,
            paused=paused,
            wait=wait,
            timeout_ms=timeout_ms,
            token=token,
        )
        rare = (cpus, cpu_weight, cpu_cap, cold, on_poweroff, on_reboot, on_crash)
        if rare != (None,) * len(rare):
            request = replace(
                request,
                cpus=None if cpus is None else tuple(cpus),
                cpu_weight=cpu_weight,
                cpu_cap=cpu_cap,
                cold=cold,
                on_poweroff=on_poweroff,
                on_reboot=on_reboot,
                on_crash=on_crash,
            )
        return (await self._call(calls.CREATE, calls.CreateCall(request=request))).created

    async def create_many(self, requests: Iterable[CreateRequest]) -> tuple[CreateResult, ...]:
        """Create many domains in one call; each result is a domain, or why there is none."""
        call = calls.CreateManyCall(requests=tuple(requests))
        return (await self._call(calls.CREATE_MANY, call)).results

    @asynccontextmanager
    async def iter_create_many(
        self, requests: Iterable[CreateRequest]
    ) -> AsyncIterator[Replies[CreateResult]]:
        """Create many domains, and iterate over the results as they come.

        Leaving the block early leaves it open how many of the rest are made.
        """
        call = calls.CreateManyCall(requests=tuple(requests))
        async with self._stream(calls.CREATE_MANY, call, lambda r: r.results) as results:
            yield results

    async def destroy(
        self, domain: str, *, missing_ok: bool | None = None, wait: bool | None = None
    ) -> Domain | None:
        """Destroy a domain, running or exited, and return it as it was last.

        Returns None where there was none and `missing_ok` allows that. When it returns, the domain stands still for
        good, and its name and the files of its disks are free; with `wait` all that it held has been given back too.
        """
        call = calls.DestroyCall(domain=domain, missing_ok=missing_ok, wait=wait)
        return (await self._call(calls.DESTROY, call)).domain

    async def list(
        self,
        *,
        all: bool | None = None,  # noqa: A002 (the name on the wire)
    ) -> tuple[Domain, ...]:
        """Return the live domains, and with `all` the exited ones that are still remembered."""
        return (await self._call(calls.LIST, calls.ListCall(all=all))).domains

    async def foreign(self) -> tuple[ForeignDomain, ...]:
        """Return the domains of other toolstacks."""
        return (await self._call(calls.FOREIGN, calls.Nothing())).domains

    async def info(self, domain: str) -> Domain:
        """Return a domain by its name, UUID or decimal domid."""
        return (await self._call(calls.INFO, calls.DomainCall(domain=domain))).domain

    async def pause(self, domain: str) -> Domain:
        """Stop the domain's vCPUs."""
        return (await self._call(calls.PAUSE, calls.DomainCall(domain=domain))).domain

    async def stop(
        self,
        domain: str,
        *,
        power: Power | None = None,
        timeout_ms: int | None = None,
        force: bool | None = None,
    ) -> Domain:
        """Ask the guest to stop, and wait until it has, by default for 10 s.

        Raises `TimedOut` where it has not by then; with `force` it is destroyed instead.
        """
        call = calls.StopCall(domain=domain, power=power, timeout_ms=timeout_ms, force=force)
        return (await self._call(calls.STOP, call)).domain

    async def restart(
        self, domain: str, *, timeout_ms: int | None = None, force: bool | None = None
    ) -> Created:
        """Stop the domain where it runs, and start it again under its name and addresses."""
        call = calls.RestartCall(domain=domain, timeout_ms=timeout_ms, force=force)
        return (await self._call(calls.RESTART, call)).created

    async def console_write(self, domain: str, data: bytes, writer: str | None = None) -> None:
        """Write to the console; `writer` is the word of the first chunk of an attached one.

        Raises `NotPossibleNow` where somebody else is attached, and `TimedOut` where the guest does not read.
        """
        call = calls.ConsoleWriteCall(domain=domain, data=data, writer=writer)
        await self._call(calls.CONSOLE_WRITE, call)

    async def unpause(self, domain: str) -> Domain:
        """Let the domain's vCPUs run."""
        return (await self._call(calls.UNPAUSE, calls.DomainCall(domain=domain))).domain

    async def console_read(self, domain: str, offset: int | None = None) -> ConsoleChunk:
        """Return what the console has from byte `offset` on, by default all that is kept."""
        return await self._call(calls.CONSOLE, calls.ConsoleCall(domain=domain, offset=offset))

    @asynccontextmanager
    async def follow_console(
        self, domain: str, offset: int | None = None, *, attach: bool | None = None
    ) -> AsyncIterator[Replies[ConsoleChunk]]:
        """Iterate over the console output, from byte `offset` on, until the domain has ended.

        With `attach`, nobody else may write meanwhile; the first chunk has the word for `console_write`.
        """
        call = calls.ConsoleCall(domain=domain, offset=offset, follow=True, attach=attach)
        async with self._stream(calls.CONSOLE, call, lambda chunk: (chunk,)) as chunks:
            yield chunks

    async def wait(
        self, domain: str, until: WaitFor = WaitFor.EXITED, *, timeout_ms: int | None = None
    ) -> Domain:
        """Wait until the domain is ready, is running, or has exited.

        Raises `TimedOut` after `timeout_ms`, or after the daemon's own limit. Cancellation ends the
        wait only.
        """
        call = calls.WaitCall(domain=domain, until=until, timeout_ms=timeout_ms)
        return (await self._call(calls.WAIT, call)).domain

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Replies[Event]]:
        """Iterate over what happens to all domains, from the moment the block is entered."""
        async with self._stream(calls.WATCH, calls.Nothing(), _events) as events:
            await events.wait_reply()
            yield events

    async def flavors(self) -> tuple[Flavor, ...]:
        """Return the flavors for which shells are kept."""
        return (await self._call(calls.FLAVORS, calls.Nothing())).flavors

    async def pool_status(self) -> tuple[Pool, ...]:
        """Return the state of each flavor's pool of shells."""
        return (await self._call(calls.POOL_STATUS, calls.Nothing())).pools

    async def services(self) -> tuple[ServiceStatus, ...]:
        """Return the services, whose domains are made when the first packet for them arrives."""
        return (await self._call(calls.SERVICES, calls.Nothing())).services

    async def add_service(
        self,
        name: str,
        *,
        image: str,
        network: str,
        addresses: Sequence[str],
        flavor: str | None = None,
        cmdline: str | None = None,
        metadata: str | None = None,
        idle_seconds: float | None = None,
        most: int | None = None,
    ) -> None:
        """Add a service: each of the addresses gets a domain when the first packet for it arrives.

        What is None has the default of the configuration. The service is there until it is removed or
        the host is started again.
        """
        service = ServiceRequest(
            name=name,
            image=image,
            network=network,
            addresses=tuple(addresses),
            flavor=flavor,
            cmdline=cmdline,
            metadata=metadata,
            idle_seconds=idle_seconds,
            most=most,
        )
        await self._call(calls.ADD_SERVICE, calls.AddServiceCall(service=service))

    async def remove_service(self, name: str) -> None:
        """Remove a service that was added, and destroy its domains.

        Raises `NotRemovable` for one of the configuration.
        """
        await self._call(calls.REMOVE_SERVICE, calls.RemoveServiceCall(name=name))

    async def doctor(self) -> tuple[Finding, ...]:
        """Return everything on the host that belongs to LightVM, and every leak."""
        return (await self._call(calls.DOCTOR, calls.Nothing())).findings

    async def version(self) -> Version:
        """Return the versions of the daemon and of its Xen."""
        return await self._call(calls.VERSION, calls.Nothing())

    async def _call(self, method: Method[P, R], parameters: P) -> R:
        connection = await self._connections.begin(method, parameters)
        try:
            return (await connection.receive(method))[0]
        finally:
            self._connections.give_back(connection)

    @asynccontextmanager
    async def _stream(
        self, method: Method[P, R], parameters: P, items: Callable[[R], Iterable[T]]
    ) -> AsyncIterator[Replies[T]]:
        connection = await self._connections.begin(method, parameters, more=True)

        async def receive() -> tuple[Iterable[T], bool]:
            reply, continues = await connection.receive(method)
            return items(reply), continues

        try:
            yield Replies(receive)
        finally:
            self._connections.give_back(connection)


class Replies(Generic[T]):
    """What a streaming call brings, one by one, for as long as its block is open.

    A cancelled iteration step loses nothing: the next one goes on where it was.
    """

    def __init__(self, receive: Callable[[], Awaitable[tuple[Iterable[T], bool]]]) -> None:
        """Iterate over what `receive` returns, until it says that no more follows."""
        self._receive = receive
        self._items: deque[T] = deque()
        self._ended = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> T:
        """Return the next item, waiting for it where need be; raises as a plain call does."""
        if self._items:
            await trio.lowlevel.checkpoint()
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            await self.wait_reply()
        return self._items.popleft()

    async def wait_reply(self) -> None:
        """Wait for one more reply and keep what it brings for the iteration."""
        try:
            items, continues = await self._receive()
        except errors.LightVMError:
            self._ended = True
            raise
        self._items.extend(items)
        self._ended = not continues


def _events(reply: calls.WatchReply) -> tuple[Event, ...]:
    return () if reply.event is None else (reply.event,)
