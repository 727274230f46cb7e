"""One service: what each of its addresses is at, from the first frame to the end of its domain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv4Interface

import structlog
import trio

from lightvm.daemon.config import ServiceSection
from lightvm.daemon.creator import Creator
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.jit.frames import BROADCAST, read_request, skip_repeats
from lightvm.daemon.jit.listener import Wire
from lightvm.daemon.journal import DomainRecord
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.net.addresses import holds, mac_of, merge_ranges, parse_ranges, service_token
from lightvm.daemon.net.network import Network
from lightvm.daemon.net.vifs import port_name
from lightvm.errors import LightVMError, LinkFailed, TimedOut
from lightvm.model import (
    CreateRequest,
    NetRequest,
    Policy,
    ServiceStatus,
    Source,
    WaitFor,
)

log = structlog.get_logger()

FRAMES_AT_ONCE = 64
"""Frames that are taken before others have their turn."""

DESTROYED_AT_ONCE = 4
"""Domains of a service that are destroyed at the same time: each has its time only from then on."""

HELD = 3
"""An idle domain is kept so many times as long at most, while others are being made."""

MOST_FRAMES = 16
"""Frames that are kept for a domain that is being made."""

RETRY_SECONDS = 1.0
"""How long an address rests after a create that failed, and a wire after a failure."""


class Instance:
    """An address that has a domain, is getting one, or is losing it."""

    __slots__ = ("address", "domain", "frames", "sent", "since")

    def __init__(self, address: int, domain: LiveDomain | None = None) -> None:
        self.address = address
        self.domain = domain
        """None while it is being made or destroyed: then frames are kept."""
        self.frames: list[bytes] = []
        self.sent: int | None = None
        """How many packets its guest had sent at the last look."""
        self.since = trio.current_time()
        """The last moment at which it was not idle."""

    @property
    def port(self) -> str | None:
        """The port of its domain while that runs."""
        if self.domain is None or self.domain.exit is not None:
            return None
        return port_name(self.domain.record.domid, 0)


def served_address(record: DomainRecord, service: str) -> int | None:
    """Return the address at which a domain is a service's, or None where it is none of its domains."""
    for vif in () if record.request.token is None else record.vifs[:1]:
        address = 0 if vif.ipv4 is None else int(IPv4Interface(vif.ipv4).ip)
        if record.request.token == service_token(service, address):
            return address
    return None


class JitService:
    """A service."""

    def __init__(
        self,
        name: str,
        section: ServiceSection,
        network: Network,
        registry: Registry,
        creator: Creator,
        lifecycle: Lifecycle,
    ) -> None:
        assert network.address is not None
        self.name = name
        self.network = network
        self.ranges = merge_ranges(
            parse_ranges(section.addresses, network.address.network, f"services.{name}")
        )
        self._section = section
        self._registry = registry
        self._creator = creator
        self._lifecycle = lifecycle
        self._serving = trio.CancelScope()
        self._stopped = trio.Event()
        self._wire: Wire
        self._nursery: trio.Nursery
        self._instances: dict[int, Instance] = {}
        self._resting: dict[int, float] = {}
        """Addresses for which nothing is done until some moment."""
        self._retiring = 0
        self.requests = self.created = self.failed = self.destroyed = 0

    async def serve(self, wire: Wire, reopen: Callable[[], Awaitable[Wire]]) -> None:
        """Listen, and make and destroy domains, until `stop` is called; what runs then, runs on.

        Takes over those domains that were made for this service already. In place of a wire that fails comes one that
        `reopen` returns, which is tried again where it raises `LinkFailed`.
        """
        try:
            with ExitStack() as opened, self._serving:
                self._use(wire, opened)
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self._adopt(self._registry.live.values())
                    while True:
                        await self._listen()
                        opened.close()
                        await self._reopen(reopen, opened)
        finally:
            self._instances.clear()
            self._stopped.set()

    async def stop(self) -> None:
        """Listen no more, and wait until no domain is being made or destroyed. To be called once it serves."""
        self._serving.cancel()
        await self._stopped.wait()

    def _use(self, wire: Wire, opened: ExitStack) -> None:
        self._wire = opened.enter_context(closing(wire))

    async def _listen(self) -> None:
        """Take frames until the wire fails."""
        try:
            while True:
                frames = [await self._wire.receive()]
                while len(frames) < FRAMES_AT_ONCE:
                    if (more := self._wire.receive_nowait()) is None:
                        break
                    frames.append(more)
                for frame in skip_repeats(frames):
                    self.note(frame)
        except LinkFailed as exc:
            log.warning("not-listening", service=self.name, error=str(exc))

    async def _reopen(self, reopen: Callable[[], Awaitable[Wire]], opened: ExitStack) -> None:
        while True:
            await trio.sleep(RETRY_SECONDS)
            try:
                return self._use(await reopen(), opened)
            except LinkFailed as exc:
                log.warning("not-listening", service=self.name, error=str(exc))

    def _adopt(self, domains: Iterable[LiveDomain]) -> None:
        for domain in domains:
            address = served_address(domain.record, self.name)
            if address is not None and self._has(address):
                self._instances[address] = Instance(address, domain)

    def _has(self, address: int) -> bool:
        pool = self.network.pool
        return pool is not None and holds(self.ranges, address) and pool.may_have(address)

    def describe(self) -> ServiceStatus:
        """Return the service as callers see it."""
        return ServiceStatus(
            name=self.name,
            network=self.network.name,
            requests=self.requests,
            created=self.created,
            failed=self.failed,
            destroyed=self.destroyed,
            live=sum(1 for _ in self.ports()),
        )

    # From nothing to a running domain

    def note(self, frame: bytes) -> None:
        """Do what a frame asks for.

        Where its domain runs the bridge delivers it, except an ARP request, of which only the host's filter may think
        that it would find the domain. The end of a connection to a domain that is no more makes no other.
        """
        request = read_request(frame)
        if request is None or request.sender == mac_of(request.address):
            return
        instance = self._instances.get(request.address)
        if instance is not None and instance.domain is not None:
            if (port := instance.port) is not None:
                if request.to == BROADCAST:
                    self._send(port, (frame,))
                return
            instance = None  # its domain has ended since the last look
        if request.farewell:
            return
        if instance is None:
            instance = self._begin(request.address)
        if instance is not None and len(instance.frames) < MOST_FRAMES:
            instance.frames = [*skip_repeats([*instance.frames, frame])]

    def _begin(self, address: int) -> Instance | None:
        """Begin to make a domain, unless this is not the moment."""
        if self._resting.get(address, 0) > trio.current_time() or not self._has(address):
            return None
        self.requests += 1
        if address not in self._instances and len(self._instances) >= self._section.most:
            self._fail(address, f"there are {self._section.most} domains already")
            return None
        instance = self._instances[address] = Instance(address)
        self._nursery.start_soon(self._instantiate, instance)
        return instance

    def _fail(self, address: int, error: str) -> None:
        self.failed += 1
        self._resting[address] = trio.current_time() + RETRY_SECONDS
        log.warning(
            "not-instantiated", service=self.name, address=str(IPv4Address(address)), error=error
        )

    async def _instantiate(self, instance: Instance) -> None:
        """Make a domain, and give it the frames that have come meanwhile."""
        try:
            domain = await self._create(instance.address)
        except LightVMError as exc:
            del self._instances[instance.address]
            self._fail(instance.address, str(exc))
            return
        instance.domain = domain
        instance.since = trio.current_time()
        frames, instance.frames = instance.frames, []
        self._send(port_name(domain.record.domid, 0), frames)

    def _send(self, port: str, frames: Iterable[bytes]) -> None:
        try:
            for frame in frames:
                self._wire.send(port, frame)
        except LinkFailed as exc:  # who asked will ask again
            log.warning("frames-lost", service=self.name, port=port, error=str(exc))

    async def _create(self, address: int) -> LiveDomain:
        """Return a new domain that is ready; raises what `Creator.create` raises, and then leaves none."""
        token = service_token(self.name, address)
        former = self._registry.tokens.get(token)
        if isinstance(former, LiveDomain) and former.exit is not None:
            await self._lifecycle.destroy(former)  # it has the token, and maybe the addresses
        try:
            created = await self._creator.create(self._request(address, token))
        except TimedOut:
            silent = self._registry.tokens.get(token)
            if isinstance(silent, LiveDomain):
                await self._lifecycle.destroy(silent)
            raise
        self.created += created.source is not Source.EXISTING
        return self._registry.find(created.domain.uuid)

    def _request(self, address: int, token: str) -> CreateRequest:
        section, text = self._section, str(IPv4Address(address))
        net = NetRequest(network=section.network, mac=mac_of(address).hex(":"), ipv4=text)
        return CreateRequest(
            image=section.image,
            name=f"{self.name}-{text}",
            flavor=section.flavor or None,
            cmdline=section.cmdline or None,
            nets=(net,),
            metadata=section.metadata.encode() or None,
            on_reboot=Policy.DESTROY,  # the next frame starts it again
            wait=WaitFor.READY,
            token=token,
        )

    # From a running domain to nothing

    def ports(self) -> Iterator[str]:
        """Yield the ports of the domains that run."""
        for instance in self._instances.values():
            if (port := instance.port) is not None:
                yield port

    def look(self, sent: Mapping[str, int | None]) -> None:
        """Begin to destroy idle domains; `sent` is how many packets the guest at each port has sent by now.

        One that is paused is not idle: it cannot send. While others are being made, idle ones stay for longer: who
        waits for an answer comes first.
        """
        now = trio.current_time()
        limit = self._section.idle_seconds
        unfinished = sum(instance.domain is None for instance in self._instances.values())
        if unfinished > self._retiring and len(self._instances) < self._section.most:
            limit *= HELD
        self._resting = {address: end for address, end in self._resting.items() if end > now}
        for instance in list(self._instances.values()):
            domain = instance.domain
            if domain is None:
                continue
            if (port := instance.port) is None:
                del self._instances[instance.address]
            elif domain.paused or sent.get(port) != instance.sent:
                instance.sent, instance.since = sent.get(port), now
            elif now - instance.since >= limit and self._retiring < DESTROYED_AT_ONCE:
                instance.domain = None
                self._retiring += 1
                self._nursery.start_soon(self._retire, instance, domain)

    async def _retire(self, instance: Instance, domain: LiveDomain) -> None:
        """Destroy a domain; where frames have come meanwhile, make another."""
        try:
            await self._lifecycle.destroy(domain)
        except LightVMError as exc:
            log.error("not-destroyed", domain=domain.record.name, error=str(exc))
        self.destroyed += 1
        self._retiring -= 1
        del self._instances[instance.address]
        if instance.frames and (another := self._begin(instance.address)) is not None:
            another.frames = instance.frames
