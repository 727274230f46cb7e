"""The networks of the configuration at work: who gets which addresses, and which vif is in which bridge."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

import msgspec
from msgspec.structs import replace

from lightvm.daemon.config import Config
from lightvm.daemon.net.addresses import MacPool, dotted, holds
from lightvm.daemon.net.filters import Port, Source
from lightvm.daemon.net.network import Lease, Network
from lightvm.daemon.net.vifs import port_name
from lightvm.errors import AddressTaken, NoSuchNetwork, OutOfAddresses
from lightvm.model import NetRequest, Vif


class Ports(Protocol):
    """The host's network devices, as far as they are needed here; `lightvm.daemon.net.links.Links` has them."""

    def ensure_bridge(self, name: str, address: IPv4Interface | None) -> None:
        """Make sure that there is a bridge."""
        ...

    def wait_for(self, name: str) -> None:
        """Wait for a device that is just being made."""
        ...

    def add_port(self, name: str, bridge: str, mtu: int, *, guarded: bool = False) -> None:
        """Put a device into its bridge; nothing passes nftables by where it is guarded."""
        ...

    def hook_all(self, name: str) -> None:
        """Let nothing that comes in by a port pass nftables by."""
        ...

    def count_ports(self, bridge: str) -> int:
        """Return how many ports a bridge has."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a device; does not block."""
        ...

    def forward_ipv4(self) -> None:
        """Make sure that this host forwards IPv4 packets."""
        ...

    def count_sent(self, name: str) -> int | None:
        """Return how many packets a vif's guest has sent, or None where there is no such device."""
        ...


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of one create: as callers see them, and packed for the device page."""

    vifs: tuple[Vif, ...] = ()
    packed: bytes = b""


NOTHING = Assignment()


class Networks:
    """All networks."""

    def __init__(self, config: Config, ports: Ports) -> None:
        self._ports = ports
        self._networks = {
            name: Network(name, section, f"networks.{name}")
            for name, section in config.networks.items()
        }
        self._macs = MacPool()
        self._guarded = {network.name for network in self if network.antispoof}
        self.nats = tuple(network.nat for network in self if network.nat is not None)

    def __iter__(self) -> Iterator[Network]:
        return iter(self._networks.values())

    def __len__(self) -> int:
        return len(self._networks)

    def __getitem__(self, name: str) -> Network:
        try:
            return self._networks[name]
        except KeyError:
            raise NoSuchNetwork("the configuration has no such network", name) from None

    def are_known(self, wanted: Sequence[NetRequest]) -> bool:
        """Whether all these are names of networks. Part of the hot path."""
        for net in wanted:  # noqa: SIM110 (a generator costs more than all of this)
            if net.network not in self._networks:
                return False
        return True

    def resolve(self, wanted: Sequence[NetRequest]) -> tuple[NetRequest, ...]:
        """Return the same requests, but with the name of a network where one says that of its bridge.

        Raises `NoSuchNetwork` where several networks share that bridge; a name that means nothing is left as it is.
        """
        return tuple(
            [net if net.network in self._networks else self._by_bridge(net) for net in wanted]
        )

    def _by_bridge(self, wanted: NetRequest) -> NetRequest:
        names = [network.name for network in self if network.bridge == wanted.network]
        if len(names) > 1:
            raise NoSuchNetwork(
                f"several networks are in this bridge: {', '.join(names)}", wanted.network
            )
        return replace(wanted, network=names[0]) if names else wanted

    # Addresses

    def assign(
        self, wanted: Sequence[NetRequest], token: str | None = None, ahead: Sequence[Lease] = ()
    ) -> Assignment:
        """Hand out addresses for one domain, all or none; a service's for its token only.

        What its shell has `ahead` is the domain's where it has not been taken back and nothing else is asked for.

        Raises `NoSuchNetwork`, `OutOfAddresses`, `AddressTaken` and `BadRequest`.
        """
        if not wanted:
            return NOTHING
        vifs: list[Vif] = []
        packed = b""
        used: list[Lease] = []  # of those ahead
        try:
            for index, request in enumerate(wanted):
                network = self[request.network]
                lease = ahead[index] if ahead else None
                if lease is not None and _is_meant(lease, request, network):
                    del network.ahead[lease.vif.mac]
                    used.append(lease)
                else:
                    lease = self._find(network, request, index, token)
                vifs.append(lease.vif)
                packed += lease.packed
        except BaseException:
            self.release(vifs)
            for lease in used:
                self._put_back(lease)
            raise
        if len(used) < len(ahead):
            self.take_back(*ahead)
        return Assignment(vifs=tuple(vifs), packed=packed)

    def foresee(self, wanted: Sequence[NetRequest], ahead: Sequence[Lease]) -> Assignment | None:
        """Return what `assign` would hand out of what a shell has ahead; None where it would have to draw others."""
        if len(wanted) != len(ahead):
            return None
        for request, lease in zip(wanted, ahead, strict=True):
            if not _is_meant(lease, request, self[request.network]):
                return None
        return Assignment(
            vifs=tuple([lease.vif for lease in ahead]),
            packed=b"".join([lease.packed for lease in ahead]),
        )

    def are_ahead(self, leases: Sequence[Lease]) -> bool:
        """Whether nobody else has got any of these meanwhile. Part of the hot path."""
        for lease in leases:  # noqa: SIM110 (a generator costs more than all of this)
            if self._networks[lease.vif.network].ahead.get(lease.vif.mac) is not lease:
                return False
        return True

    def draw_ahead(self, names: Sequence[str]) -> tuple[Lease, ...]:
        """Draw addresses for a shell, one for each of its networks; none where one of them has none to give."""
        leases: list[Lease] = []
        try:
            for name in names:
                network = self[name]
                leases.append(self._draw(network, NetRequest(network=name), 0))
                network.ahead[leases[-1].vif.mac] = leases[-1]
        except OutOfAddresses:
            self.take_back(*leases)
            return ()
        return tuple(leases)

    def take_back(self, *leases: Lease) -> None:
        """Take back what a shell has ahead, where no domain has got it meanwhile."""
        for lease in leases:
            network = self[lease.vif.network]
            if network.ahead.get(lease.vif.mac) is lease:
                del network.ahead[lease.vif.mac]
                self.release((lease.vif,))

    def _put_back(self, lease: Lease) -> None:
        self.keep((lease.vif,))
        self[lease.vif.network].ahead[lease.vif.mac] = lease

    def _find(self, network: Network, request: NetRequest, index: int, token: str | None) -> Lease:
        """Draw addresses, a shell's where there are no others."""
        try:
            return self._draw(network, request, index, token)
        except OutOfAddresses:
            if not network.ahead:
                raise
            self.take_back(next(iter(network.ahead.values())))
            return self._draw(network, request, index, token)

    def _draw(
        self, network: Network, request: NetRequest, index: int, token: str | None = None
    ) -> Lease:
        if request.mac is not None or request.ipv4 is not None:
            self._recall(network, request)
        mac = self._claim_mac(request, index)
        try:
            ipv4 = network.take_ipv4(request, index, token)
        except BaseException:
            self._macs.taken.discard(mac)
            raise
        return network.lease(mac or self._macs.take(ipv4), ipv4)

    def _recall(self, network: Network, request: NetRequest) -> None:
        """Take back what shells have ahead, where somebody asks for just these addresses."""
        if request.mac is not None:
            mac = request.mac.lower()
            self.take_back(*[other.ahead[mac] for other in self if mac in other.ahead])
        if request.ipv4 is not None and network.pool is not None:
            ipv4 = int(IPv4Address(request.ipv4))
            if ipv4 in network.pool.taken:
                ahead = network.ahead.values()
                self.take_back(*[lease for lease in ahead if _number(lease.vif) == ipv4])

    def _claim_mac(self, request: NetRequest, index: int) -> bytes:
        if request.mac is None:
            return b""
        return self._macs.claim(
            bytes.fromhex(request.mac.replace(":", "")), f"request.nets[{index}].mac"
        )

    def release(self, vifs: Sequence[Vif]) -> None:
        """Take addresses back."""
        for taken, address in self._taken(vifs):
            taken.discard(address)

    def keep(self, vifs: Sequence[Vif]) -> None:
        """Note the addresses of a domain that was adopted."""
        for taken, address in self._taken(vifs):
            taken.add(address)

    def _taken(self, vifs: Sequence[Vif]) -> Iterator[tuple[set[object], object]]:
        """Return the addresses of these vifs, each with the set where it stands while it is taken."""
        for vif in vifs:
            yield self._macs.taken, bytes.fromhex(vif.mac.replace(":", ""))
            network = self._networks.get(vif.network)
            if network is not None and network.pool is not None and vif.ipv4 is not None:
                yield network.pool.taken, _number(vif)

    # Addresses of services

    def check_free(
        self, name: str, ranges: Sequence[range], but: Collection[int | None], where: str
    ) -> None:
        """Raise `AddressTaken` where a domain has one of some addresses, or is about to get it.

        Those in `but` may be taken, and what is drawn ahead is nobody's.
        """
        network = self[name]
        pool, ahead = network.pool, {_number(lease.vif) for lease in network.ahead.values()}
        for address in () if pool is None else pool.taken:
            assert isinstance(address, int)
            if holds(ranges, address) and address not in but and address not in ahead:
                raise AddressTaken(f"{dotted(address)} is another domain's", where)

    def keep_for(self, service: str, name: str, ranges: Sequence[range]) -> None:
        """Keep addresses of a network for a service from now on, and let go of those that are drawn ahead."""
        network = self[name]
        if network.pool is None:
            return
        network.pool.keep(service, ranges)
        ahead = network.ahead.values()
        self.take_back(*[lease for lease in ahead if holds(ranges, _number(lease.vif))])

    def let_go(self, service: str, name: str) -> None:
        """Keep nothing for a service any more."""
        pool = self[name].pool
        if pool is not None:
            pool.let_go(service)

    # Ports

    @property
    def guards(self) -> bool:
        """Whether guests of any network are kept from sending in another's name."""
        return bool(self._guarded)

    def are_guarded(self, vifs: Sequence[Vif]) -> bool:
        """Whether any of these vifs is in such a network. Part of the hot path."""
        return bool(self._guarded) and any(vif.network in self._guarded for vif in vifs)

    def describe_ports(
        self, domid: int, names: Sequence[str], vifs: Sequence[Vif] = ()
    ) -> dict[str, Port]:
        """Return the ports of a domain for nftables; `names` are the networks of its vifs.

        One that is in no network any more is left out.
        """
        sources = [*map(describe_source, vifs)] or [None] * len(names)
        return {
            port_name(domid, index): Port(network.bridge, network.antispoof, source)
            for index, (name, source) in enumerate(zip(names, sources, strict=True))
            if (network := self._networks.get(name)) is not None
        }

    def bridges(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the bridges of some networks, each as often as it is asked for."""
        return tuple(self[name].bridge for name in names)

    def has_port(self, device: str) -> bool:
        """Whether there is a vif's device; does not block."""
        return self._ports.has(device)

    # These block, and are for a worker thread.

    def ensure_bridges(self) -> None:
        """Make sure that all bridges are there; raises `LinkFailed`."""
        for network in self:
            self._ports.ensure_bridge(network.bridge, network.address)

    def wait_for(self, device: str) -> None:
        """Wait for a device that is just being made; raises `LinkFailed`."""
        self._ports.wait_for(device)

    def add_port(self, name: str, device: str) -> None:
        """Put a device into the bridge of a network; raises `LinkFailed`."""
        network = self[name]
        self._ports.add_port(device, network.bridge, network.mtu, guarded=network.antispoof)

    def hook_present(self, devices: Iterable[str]) -> None:
        """Let nothing that comes in by these vifs pass nftables by, where they are; raises `LinkFailed`."""
        for device in devices:
            if self._ports.has(device):
                self._ports.hook_all(device)

    def count_ports(self, bridge: str) -> int:
        """Return how many ports a bridge has."""
        return self._ports.count_ports(bridge)

    def count_sent(self, devices: Sequence[str]) -> list[int | None]:
        """Return how many packets the guests of some vifs have sent, None where there is no such device."""
        return [self._ports.count_sent(device) for device in devices]

    def forward_ipv4(self) -> None:
        """Make sure that this host forwards IPv4 packets; raises `LinkFailed`."""
        self._ports.forward_ipv4()


def _is_meant(lease: Lease, request: NetRequest, network: Network) -> bool:
    """Whether what a shell has ahead is what somebody asks for, and has not been taken back."""
    return (
        request.mac is None and request.ipv4 is None and network.ahead.get(lease.vif.mac) is lease
    )


def describe_source(vif: Vif) -> Source | None:
    """Return a vif's addresses for nftables; None for one without an IPv4 address.

    That can be one that was made before its network had any.
    """
    return None if vif.ipv4 is None else Source(vif.mac, vif.ipv4.partition("/")[0])


def describe_sources(domid: int, vifs: Sequence[Vif]) -> dict[str, Source | None]:
    """Return the addresses of a domain's vifs for nftables, by port."""
    return {port_name(domid, index): describe_source(vif) for index, vif in enumerate(vifs)}


def _number(vif: Vif) -> int:
    return 0 if vif.ipv4 is None else int(IPv4Interface(vif.ipv4).ip)
