"""The blocking client: the verbs of `lightvm.client` for code without an event loop.

Threads may share one client: each call in flight has a connection of its own. A call that fails
half-way, runs out of time or is interrupted closes its connection, so what the daemon still
answers there reaches nobody.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Self, TypeVar

from msgspec.structs import replace

from lightvm import calls
from lightvm.blocking_connection import Connections, Deadline
from lightvm.calls import Method, P, R
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


class Client:
    """A daemon to call; a context manager that closes its connections at the end.

    Without `path`, the environment's LIGHTVM_SOCKET counts, or else `DEFAULT_SOCKET`. `limit_s` is
    how many seconds each call may take from the first byte to the last reply, a stream from one
    reply to the next; None sets no limit but the daemon's own.

    Making one connects, and raises `NoDaemon` where nobody listens. Every method raises what the
    daemon answers, as an error of `lightvm.errors`, or `TimedOut` after `limit_s`, `ConnectionLost`
    or `ProtocolError`. After any of these three it is not known whether the daemon carried the call
    out.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, limit_s: float | None = None
    ) -> None:
        """Connect to the daemon."""
        self._connections = Connections(socket_path(path))
        self._limit_s = limit_s
        self._connections.give_back(self._connections.open(Deadline(limit_s)))

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the idle connections, and those in use when their calls end; domains live on."""
        self._connections.close()

    def within(self, limit_s: float | None) -> Client:
        """Return a client over the same connections whose calls have another time limit."""
        twin = object.__new__(Client)
        twin._connections = self._connections
        twin._limit_s = limit_s
        return twin

    def create(
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

        With `wait` the reply comes when the guest has got that far, within `timeout_ms`. After a
        lost reply the domain may exist; with the same `token` it can be asked for again, and the
        answer is the same domain.
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
        return self._call(calls.CREATE, calls.CreateCall(request=request)).created

    def create_many(self, requests: Iterable[CreateRequest]) -> tuple[CreateResult, ...]:
        """Create many domains in one call; each result is a domain, or why there is none."""
        call = calls.CreateManyCall(requests=tuple(requests))
        return self._call(calls.CREATE_MANY, call).results

    @contextmanager
    def iter_create_many(
        self, requests: Iterable[CreateRequest]
    ) -> Iterator[Replies[CreateResult]]:
        """Create many domains, and iterate over the results as they come.

        Leaving the block early leaves it open how many of the rest are made.
        """
        call = calls.CreateManyCall(requests=tuple(requests))
        with self._stream(calls.CREATE_MANY, call, lambda reply: reply.results) as results:
            yield results

    def destroy(
        self, domain: str, *, missing_ok: bool | None = None, wait: bool | None = None
    ) -> Domain | None:
        """Destroy a domain, running or exited, and return it as it was last.

        Returns None where there was none and `missing_ok` allows that. When it returns, the domain stands still for
        good, and its name and the files of its disks are free; with `wait` all that it held has been given back too.
        """
        call = calls.DestroyCall(domain=domain, missing_ok=missing_ok, wait=wait)
        return self._call(calls.DESTROY, call).domain

    def list(
        self,
        *,
        all: bool | None = None,  # noqa: A002 (the name on the wire)
    ) -> tuple[Domain, ...]:
        """Return the live domains, and with `all` the exited ones that are still remembered."""
        return self._call(calls.LIST, calls.ListCall(all=all)).domains

    def foreign(self) -> tuple[ForeignDomain, ...]:
        """Return the domains of other toolstacks."""
        return self._call(calls.FOREIGN, calls.Nothing()).domains

    def info(self, domain: str) -> Domain:
        """Return a domain by its name, UUID or decimal domid."""
        return self._call(calls.INFO, calls.DomainCall(domain=domain)).domain

    def pause(self, domain: str) -> Domain:
        """Stop the domain's vCPUs."""
        return self._call(calls.PAUSE, calls.DomainCall(domain=domain)).domain

    def stop(
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
        return self._call(calls.STOP, call).domain

    def restart(
        self, domain: str, *, timeout_ms: int | None = None, force: bool | None = None
    ) -> Created:
        """Stop the domain where it runs, and start it again under its name and addresses."""
        call = calls.RestartCall(domain=domain, timeout_ms=timeout_ms, force=force)
        return self._call(calls.RESTART, call).created

    def console_write(self, domain: str, data: bytes, writer: str | None = None) -> None:
        """Write to the console; `writer` is the word of the first chunk of an attached one.

        Raises `NotPossibleNow` where somebody else is attached, and `TimedOut` where the guest does not read.
        """
        call = calls.ConsoleWriteCall(domain=domain, data=data, writer=writer)
        self._call(calls.CONSOLE_WRITE, call)

    def unpause(self, domain: str) -> Domain:
        """Let the domain's vCPUs run."""
        return self._call(calls.UNPAUSE, calls.DomainCall(domain=domain)).domain

    def console_read(self, domain: str, offset: int | None = None) -> ConsoleChunk:
        """Return what the console has from byte `offset` on, by default all that is kept."""
        return self._call(calls.CONSOLE, calls.ConsoleCall(domain=domain, offset=offset))

    @contextmanager
    def follow_console(
        self, domain: str, offset: int | None = None, *, attach: bool | None = None
    ) -> Iterator[Replies[ConsoleChunk]]:
        """Iterate over the console output, from byte `offset` on, until the domain has ended.

        With `attach`, nobody else may write meanwhile; the first chunk has the word for `console_write`.
        """
        call = calls.ConsoleCall(domain=domain, offset=offset, follow=True, attach=attach)
        with self._stream(calls.CONSOLE, call, lambda chunk: (chunk,)) as chunks:
            yield chunks

    def wait(
        self, domain: str, until: WaitFor = WaitFor.EXITED, *, timeout_ms: int | None = None
    ) -> Domain:
        """Wait until the domain is ready, is running, or has exited.

        Raises `TimedOut` after `timeout_ms`, or after the daemon's own limit.
        """
        call = calls.WaitCall(domain=domain, until=until, timeout_ms=timeout_ms)
        return self._call(calls.WAIT, call).domain

    @contextmanager
    def watch(self) -> Iterator[Replies[Event]]:
        """Iterate over what happens to all domains, from the moment the block is entered."""
        with self._stream(calls.WATCH, calls.Nothing(), _events) as events:
            events.wait_reply()
            yield events

    def flavors(self) -> tuple[Flavor, ...]:
        """Return the flavors for which shells are kept."""
        return self._call(calls.FLAVORS, calls.Nothing()).flavors

    def pool_status(self) -> tuple[Pool, ...]:
        """Return the state of each flavor's pool of shells."""
        return self._call(calls.POOL_STATUS, calls.Nothing()).pools

    def services(self) -> tuple[ServiceStatus, ...]:
        """Return the services, whose domains are made when the first packet for them arrives."""
        return self._call(calls.SERVICES, calls.Nothing()).services

    def add_service(
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
        self._call(calls.ADD_SERVICE, calls.AddServiceCall(service=service))

    def remove_service(self, name: str) -> None:
        """Remove a service that was added, and destroy its domains.

        Raises `NotRemovable` for one of the configuration.
        """
        self._call(calls.REMOVE_SERVICE, calls.RemoveServiceCall(name=name))

    def doctor(self) -> tuple[Finding, ...]:
        """Return everything on the host that belongs to LightVM, and every leak."""
        return self._call(calls.DOCTOR, calls.Nothing()).findings

    def version(self) -> Version:
        """Return the versions of the daemon and of its Xen."""
        return self._call(calls.VERSION, calls.Nothing())

    def _call(self, method: Method[P, R], parameters: P) -> R:
        deadline = Deadline(self._limit_s)
        connection = self._connections.begin(method, parameters, deadline)
        try:
            return connection.receive(method, deadline)[0]
        finally:
            self._connections.give_back(connection)

    @contextmanager
    def _stream(
        self, method: Method[P, R], parameters: P, items: Callable[[R], Iterable[T]]
    ) -> Iterator[Replies[T]]:
        deadline = Deadline(self._limit_s)
        connection = self._connections.begin(method, parameters, deadline, more=True)

        def receive() -> tuple[Iterable[T], bool]:
            reply, continues = connection.receive(method, Deadline(self._limit_s))
            return items(reply), continues

        try:
            yield Replies(receive)
        finally:
            self._connections.give_back(connection)


class Replies(Generic[T]):
    """What a streaming call brings, one by one, for as long as its block is open."""

    def __init__(self, receive: Callable[[], tuple[Iterable[T], bool]]) -> None:
        """Iterate over what `receive` returns, until it says that no more follows."""
        self._receive = receive
        self._items: deque[T] = deque()
        self._ended = False

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> T:
        """Return the next item, waiting for it where need be; raises as a plain call does."""
        while not self._items:
            if self._ended:
                raise StopIteration
            self.wait_reply()
        return self._items.popleft()

    def wait_reply(self) -> None:
        """Wait for one more reply and keep what it brings for the iteration."""
        self._ended = True  # an error is the end too
        items, continues = self._receive()
        self._items.extend(items)
        self._ended = not continues


def _events(reply: calls.WatchReply) -> tuple[Event, ...]:
    return () if reply.event is None else (reply.event,)
