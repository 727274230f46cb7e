"""What nftables is to do for our networks, and who does it.

Two tables are ours, and nothing in any other is touched: `inet lightvm` lets networks out of this host, `bridge
lightvm` keeps guests from sending in another's name, and what is for one of them from waking all the others.
`lightvm.daemon.net.nftables` gives them to the kernel, in the words of `lightvm.daemon.net.tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import NamedTuple, Protocol

from lightvm.errors import LinkFailed


class Nat(NamedTuple):
    """A network whose domains reach other networks with this host's addresses."""

    bridge: str
    subnet: IPv4Network


class Source(NamedTuple):
    """The addresses of a vif."""

    mac: str
    ipv4: str


class Port(NamedTuple):
    """A vif of ours in its bridge.

    Where it is guarded it may send from its addresses only, and without any not at all.
    """

    bridge: str
    guarded: bool
    source: Source | None


class ServiceRange(NamedTuple):
    """Addresses in a bridge that are kept for a service's domains."""

    bridge: str
    part: range


class Filters(Protocol):
    """The tables. All methods block, and are for worker threads.

    They raise `LinkFailed`, with nothing changed, where NAT or a guard cannot be had. What only keeps guests from being
    woken is no error: without it they hear what others do, as in any bridge.
    """

    def rebuild(
        self, nats: Sequence[Nat], ports: Mapping[str, Port], *, guards: bool, quiet: bool
    ) -> None:
        """Make both tables anew at once: a guest in them notices nothing.

        `guards` says whether any port is ever to be guarded, `quiet` whether guests are kept from hearing what is for
        others.
        """
        ...

    def note_services(self, ranges: Sequence[ServiceRange]) -> None:
        """Let ARP requests for these addresses, and for no others, reach only vifs that have them."""
        ...

    def add(self, ports: Mapping[str, Port]) -> None:
        """Take in more ports."""
        ...

    def bind(self, sources: Mapping[str, Source | None]) -> None:
        """Give ports their addresses in place of those they had; one that is not known is passed over."""
        ...

    def forget(self, ports: Iterable[str]) -> None:
        """Let some ports go, where they are known."""
        ...

    def mend(self) -> bool:
        """Make the tables anew where somebody has removed them; return whether that was so."""
        ...


class MemoryFilters:
    """The tables in memory, for tests and for the in-memory daemon; `broken` makes it raise as the real ones do."""

    def __init__(self) -> None:
        self.nats: Sequence[Nat] = ()
        self.ports: dict[str, Port] = {}
        self.services: Sequence[ServiceRange] = ()
        self.guards = self.quiet = self.broken = False

    @property
    def guarded(self) -> dict[str, Source | None]:
        """The guarded ports, each with what it may send from."""
        return {name: port.source for name, port in self.ports.items() if port.guarded}

    def _usable(self, needed: bool) -> bool:
        if self.broken and needed:
            raise LinkFailed("injected")
        return not self.broken

    def _are_guarded(self, names: Iterable[str]) -> bool:
        return not self.guarded.keys().isdisjoint(names)

    def rebuild(
        self, nats: Sequence[Nat], ports: Mapping[str, Port], *, guards: bool, quiet: bool
    ) -> None:
        """Note the tables."""
        if self._usable(guards or bool(nats)):
            self.nats, self.ports, self.guards, self.quiet = nats, dict(ports), guards, quiet

    def note_services(self, ranges: Sequence[ServiceRange]) -> None:
        """Note addresses."""
        if self._usable(needed=False):
            self.services = ranges

    def add(self, ports: Mapping[str, Port]) -> None:
        """Note ports."""
        if self._usable(any(port.guarded for port in ports.values())):
            self.ports.update(ports)

    def bind(self, sources: Mapping[str, Source | None]) -> None:
        """Note addresses of ports."""
        if self._usable(self._are_guarded(sources)):
            for name in sources.keys() & self.ports.keys():
                self.ports[name] = self.ports[name]._replace(source=sources[name])

    def forget(self, ports: Iterable[str]) -> None:
        """Drop ports."""
        if self._usable(self._are_guarded(ports)):
            for port in ports:
                self.ports.pop(port, None)

    def mend(self) -> bool:
        """Say that nobody has removed anything."""
        self._usable(self.guards or bool(self.nats))
        return False
