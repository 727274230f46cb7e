"""Devices of shells and domains: connected to their back-ends, most before there is a guest, and removed after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from functools import partial
from typing import NamedTuple, TypeVar

import structlog
import trio

from lightvm.daemon import backends
from lightvm.daemon.backends import Device, Found
from lightvm.daemon.config import Config
from lightvm.daemon.disk.disks import LoopDevices, OpenDisk
from lightvm.daemon.disk.loops import loop_number
from lightvm.daemon.disk.vbds import describe_free_vbds, describe_vbd
from lightvm.daemon.jit.listener import Wires
from lightvm.daemon.journal import DomainRecord
from lightvm.daemon.net.filters import Filters, Port, ServiceRange, Source
from lightvm.daemon.net.networks import Networks, Ports, describe_sources
from lightvm.daemon.net.room import Room
from lightvm.daemon.net.vifs import describe_free_vif, describe_vif, port_name
from lightvm.daemon.xenstore.guest import (
    ask_power,
    has_heard,
    introduce,
    lacks_plug,
    plug,
    tell_addresses,
    tell_tty,
)
from lightvm.daemon.xenstore.store import Store
from lightvm.errors import HostError, LightVMError, LinkFailed, StoreFailed, TimedOut
from lightvm.model import Power, Vif
from lightvm.xen.hypervisor import Handle, Shape

log = structlog.get_logger()

T = TypeVar("T")

MOST_THREADS = 1
"""Netlink and XenStore are used by one thread at a time."""

PORT_SECONDS = 10.0
"""How long a network device may take to come, or to go."""

MEND_SECONDS = 5.0
"""How long our tables may be missing, or a loop device be too much, before that is noticed."""

LATE_SECONDS = 0.02
"""How long addresses may wait to be told to the tables together with others."""

SHORTEST_LOOK, LONGEST_LOOK = 0.005, 0.1


class Dom0(NamedTuple):
    """What the daemon uses of this host beside Xen."""

    store: Store
    ports: Ports
    filters: Filters
    loops: LoopDevices
    wires: Wires


class Devices:
    """The devices of all shells and domains."""

    def __init__(self, config: Config, dom0: Dom0) -> None:
        self.networks = networks = Networks(config, dom0.ports)
        self._store = dom0.store
        self._loops = dom0.loops
        self._filters = dom0.filters
        self._limiter = trio.CapacityLimiter(MOST_THREADS)
        self._room = Room(networks.count_ports)
        self._ported: dict[str, tuple[str, ...]] = {}
        """Ports that the tables know, by the UUID of their domain: a domid may be used again."""
        self._unbound: dict[str, Source | None] = {}
        """Addresses of ports that the tables are still to be told."""
        self._bind_wanted = trio.Event()
        self._left: dict[str, int] = {}
        """Domids of domains that are gone, and whose devices could not be removed, by UUID."""

    async def start(self) -> None:
        """Make sure that all bridges are there, and that nothing of a former daemon is in the way.

        Raises `LinkFailed` and `DiskFailed`.
        """
        await self._in_thread(self.networks.ensure_bridges)
        await self._in_thread(self._loops.sweep)

    async def filter(self, records: Iterable[DomainRecord]) -> None:
        """Make the tables of nftables anew, with the domains that there are; raises `LinkFailed`.

        What a former daemon had there is replaced in one step, so running guests stay connected, and guarded.
        """
        networks = self.networks
        present: dict[str, Port] = {}
        for record in records:
            names = [vif.network for vif in record.vifs]
            if ports := networks.describe_ports(record.domid, names, record.vifs):
                self._ported[record.uuid] = tuple(ports)
                present.update(ports)
        rebuild = partial(self._filters.rebuild, guards=networks.guards, quiet=len(networks) > 0)
        await self._in_thread(rebuild, networks.nats, present)
        guarded = [name for name, port in present.items() if port.guarded]
        await self._in_thread(networks.hook_present, guarded)
        if networks.nats:  # not sooner: what is forwarded is filtered
            await self._in_thread(networks.forward_ipv4)

    async def mend_filters(self) -> None:
        """Make the tables of nftables anew wherever somebody has removed them, for ever.

        A firewall that is restarted often begins with ``flush ruleset``, which takes ours too.
        """
        while True:
            await trio.sleep(MEND_SECONDS)
            try:
                if await trio.to_thread.run_sync(self._filters.mend):
                    log.warning("filters-mended")
            except LinkFailed as exc:
                log.error("filters-not-mended", error=str(exc))

    async def mend_loops(self) -> None:
        """Remove loop devices that came back after they were removed, for ever."""
        while True:
            await trio.sleep(MEND_SECONDS)
            try:
                await self._in_thread(self._loops.recheck)
            except HostError as exc:
                log.error("loops-not-removed", error=str(exc))

    async def bind_late(self) -> None:
        """Tell the tables of addresses that were not known when a port was made, for ever, some at a time."""
        while True:
            await self._bind_wanted.wait()
            await trio.sleep(LATE_SECONDS)
            self._bind_wanted = trio.Event()
            unbound, self._unbound = self._unbound, {}
            try:
                await trio.to_thread.run_sync(self._filters.bind, unbound)
            except LinkFailed as exc:
                log.error("addresses-not-bound", error=str(exc))
                self._unbound = unbound | self._unbound
                self._bind_wanted.set()
                await trio.sleep(MEND_SECONDS)

    async def note_services(self, ranges: Sequence[ServiceRange]) -> None:
        """Keep ARP requests for these addresses, and for no others, from guests that have none of them.

        Raises `LinkFailed`.
        """
        await self._in_thread(self._filters.note_services, ranges)

    async def add_port(self, network: str, device: str) -> None:
        """Put another device than a vif into the bridge of a network; raises `LinkFailed`."""
        await self._in_thread(self.networks.add_port, network, device)

    def room_for(self, networks: Sequence[str]) -> AbstractAsyncContextManager[None]:
        """Keep room in the bridges for the vifs of one shell; entering raises `LinkFailed` where there is none."""
        return self._room.hold(self.networks.bridges(networks))

    async def connect(
        self,
        handle: Handle,
        uuid: str,
        shape: Shape,
        networks: Sequence[str],
        vifs: Sequence[Vif],
        *,
        early: bool = False,
    ) -> tuple[int, ...]:
        """Connect a shell's devices to their back-ends, and put its vifs into their bridges.

        In XenStore mode that is the guest's to do: its back-ends then wait for it; or it may wait for them, where it
        is to run `early`, and `plug` is called when it does. `vifs` are the addresses that its domain gets, as far as
        is known. Returns the numbers of its loop devices.
        Raises `LinkFailed`, `DiskFailed`, `StoreFailed` and `TimedOut`; `disconnect` then takes back what was done.
        """
        if not networks and not shape.vbds and not shape.xenstore:
            return ()
        ports = self.networks.describe_ports(handle.domid, networks, vifs)
        if ports:
            self._ported[uuid] = tuple(ports)
        return await self._in_thread(
            self._connect, handle, uuid, shape, networks, ports, vifs, early
        )

    def _connect(
        self,
        handle: Handle,
        uuid: str,
        shape: Shape,
        networks: Sequence[str],
        ports: Mapping[str, Port],
        vifs: Sequence[Vif],
        early: bool,
    ) -> tuple[int, ...]:
        domid = handle.domid
        try:
            loops = tuple(self._loops.add() for _ in range(shape.vbds))
            if shape.xenstore:
                devices = [
                    *self._describe_free_vifs(networks, vifs),
                    *describe_free_vbds(shape, loops),
                ]
                introduce(self._store, handle, uuid, shape, devices)
                if not early:
                    self._put_into_bridges(domid, networks, ports, devices)
                    plug(self._store, domid, uuid, devices)
            else:
                devices = [
                    *map(describe_vif, range(shape.vifs), handle.vif_ports),
                    *map(describe_vbd, range(shape.vbds), handle.vbd_ports, loops),
                ]
                backends.announce(self._store, domid, uuid, devices)
                self._put_into_bridges(domid, networks, ports, devices)
                backends.connect(self._store, domid, devices)
        except BaseException:
            self._loops.sweep()  # those that no back-end has opened yet: nobody else knows them
            raise
        return loops

    def _put_into_bridges(
        self,
        domid: int,
        networks: Sequence[str],
        ports: Mapping[str, Port],
        devices: Sequence[Device],
    ) -> None:
        """Wait for the back-ends, and put the vifs into their bridges.

        The ports before the rings: where a device is up when it gets its carrier, its bridge hears of that at once,
        else up to a second later (Linux' net/core/link_watch.c).
        """
        if ports:  # from the first moment in the bridge on, and while the back-ends are busy
            self._filters.add(ports)
        backends.wait(self._store, domid, devices, backends.WAITING)
        for port in ports:
            self.networks.wait_for(port)
        self._add_ports(domid, networks)

    def _add_ports(self, domid: int, networks: Sequence[str]) -> None:
        for index, name in enumerate(networks):
            self.networks.add_port(name, port_name(domid, index))

    async def plug(self, record: DomainRecord) -> None:
        """Put the vifs of a domain that runs in XenStore mode into their bridges, where that is still to be done.

        Its guest waits for that as for any back-end. Its back-ends are waited for in a thread of their own: the guest
        may keep them from ever getting ready. Raises `LinkFailed`, `StoreFailed` and `TimedOut`.
        """
        domid = record.domid
        if not await self._in_thread(lacks_plug, self._store, domid, record.uuid):
            return
        networks = [vif.network for vif in record.vifs]
        devices = self._describe_free_vifs(networks, record.vifs)
        async with self.room_for(networks):
            await self._wait_aside(domid, devices)
            for index in range(len(networks)):
                await self._wait_port(port_name(domid, index), there=True)
            await self._in_thread(self._plug_late, record, networks, devices)

    async def _wait_aside(self, domid: int, devices: Sequence[Device]) -> None:
        """Wait for back-ends without holding up others; their guest may have connected by then."""
        states = (backends.WAITING, backends.CONNECTED)
        wait = partial(backends.wait, self._store, domid, devices, *states)
        try:
            await trio.to_thread.run_sync(wait, abandon_on_cancel=True)
        except OSError as exc:
            raise StoreFailed(str(exc), None) from exc

    def _plug_late(
        self, record: DomainRecord, networks: Sequence[str], devices: Sequence[Device]
    ) -> None:
        if ports := self.networks.describe_ports(record.domid, networks, record.vifs):
            self._filters.add(ports)
        self._add_ports(record.domid, networks)
        if not lacks_plug(self._store, record.domid, record.uuid):
            raise StoreFailed("the domain has gone", f"domain {record.domid}")
        plug(self._store, record.domid, record.uuid, devices)

    def _describe_free_vifs(self, networks: Sequence[str], vifs: Sequence[Vif]) -> list[Device]:
        known: Sequence[Vif | None] = vifs or [None] * len(networks)
        places = [self.networks[name] for name in networks]
        return [
            describe_free_vif(index, vif, place.bridge, place.mtu)
            for index, (vif, place) in enumerate(zip(known, places, strict=True))
        ]

    async def bind(self, loops: Sequence[int], disks: Sequence[OpenDisk]) -> None:
        """Let a shell's disks stand for open files; raises `DiskFailed`."""
        await trio.to_thread.run_sync(self._bind, loops, disks)

    def _bind(self, loops: Sequence[int], disks: Sequence[OpenDisk]) -> None:
        for number, disk in zip(loops, disks, strict=True):
            self._loops.bind(number, disk.fd, disk.path, readonly=disk.readonly)

    async def let_send(self, domid: int, vifs: Sequence[Vif], *, xenstore: bool = False) -> None:
        """Let a shell's vifs have the addresses that its domain is given; raises `LinkFailed` and `StoreFailed`.

        Not in the one thread of the other devices, where it could wait for a back-end.
        """
        await trio.to_thread.run_sync(self._filters.bind, describe_sources(domid, vifs))
        if xenstore:
            await self._in_thread(tell_addresses, self._store, domid, vifs)

    async def tell_tty(self, domid: int, uuid: str, path: str) -> None:
        """Say where a guest's terminal is, unless the guest is gone by then; raises `StoreFailed`."""
        await self._in_thread(tell_tty, self._store, domid, uuid, path)

    async def ask_power(self, domid: int, power: Power) -> None:
        """Ask a guest in XenStore mode for something; raises `NotPossibleNow` and `StoreFailed`."""
        await self._in_thread(ask_power, self._store, domid, power)

    async def has_heard(self, domid: int) -> bool:
        """Whether it has taken notice; raises `StoreFailed`."""
        return await self._in_thread(has_heard, self._store, domid)

    def bind_later(self, domid: int, vifs: Sequence[Vif]) -> None:
        """Tell the tables soon which addresses a domain has been given, where its shell had others."""
        self._unbound.update(describe_sources(domid, vifs))
        self._bind_wanted.set()

    async def disconnect(self, domid: int, uuid: str) -> None:
        """Remove the devices of a domain that is gone, where it has any. May be called again.

        Raises `StoreFailed`, `DiskFailed`, `LinkFailed` and `TimedOut`; `disconnect_left` then tries again, as it does
        after a cancellation.
        """
        try:
            await self._in_thread(self._disconnect, domid, uuid)
            if uuid in self._ported:
                await self._forget_ports(uuid)
        except BaseException:
            self._left[uuid] = domid
            raise
        self._left.pop(uuid, None)

    async def disconnect_left(self) -> None:
        """Try again to remove what could not be removed, for ever: Xen keeps a domain whose pages a back-end has."""
        while True:
            await trio.sleep(MEND_SECONDS)
            for uuid, domid in list(self._left.items()):
                with suppress(LightVMError):
                    await self.disconnect(domid, uuid)
                    log.info("devices-removed-late", domid=domid)

    async def _forget_ports(self, uuid: str) -> None:
        """Wait until a domain's ports are gone, and let the tables forget them: another's may get their names."""
        ports = self._ported[uuid]
        for port in ports:
            await self._wait_port(port, there=False)
        await trio.to_thread.run_sync(self._filters.forget, ports)
        self._ported.pop(uuid, None)

    async def _wait_port(self, port: str, *, there: bool) -> None:
        """Wait until a vif's device is there, or is not any more; raises `TimedOut`."""
        look = SHORTEST_LOOK
        end = trio.current_time() + PORT_SECONDS
        while self.networks.has_port(port) is not there:
            if trio.current_time() > end:
                state = "not" if there else "still"
                raise TimedOut(f"the device is {state} there after {PORT_SECONDS:g} s", port)
            await trio.sleep(look)
            look = min(2 * look, LONGEST_LOOK)

    def _disconnect(self, domid: int, uuid: str) -> None:
        physical: list[str] = []
        with ExitStack() as removal:  # of all, whatever fails: nothing leads to them any more
            try:
                backends.disconnect(self._store, domid, uuid, physical)
            finally:
                for number in map(loop_number, physical):
                    if number is not None:
                        removal.callback(self._loops.remove, number)

    async def find(self) -> Collection[Found]:
        """Return what there is in XenStore of domains of ours, and of those that were; raises `StoreFailed`."""
        return await self._in_thread(backends.find, self._store)

    async def remove_leftovers(self, found: Collection[Found], ours: Collection[str]) -> None:
        """Remove of what was found that whose domain is gone, as a daemon that was killed may leave it.

        `ours` are the UUIDs of domains that still are, asked for after `find`. A failure is logged.
        """
        for domid, uuid in {(domid, uuid) for domid, uuid, _ in found if uuid not in ours}:
            try:
                await self.disconnect(domid, uuid)
            except HostError as exc:
                log.error("leftovers-not-removed", domid=domid, error=str(exc))

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        try:
            return await trio.to_thread.run_sync(function, *args, limiter=self._limiter)
        except OSError as exc:
            raise StoreFailed(str(exc), None) from exc
