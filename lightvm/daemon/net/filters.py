"""What nftables is to do for our networks, and who does it.

Two tables are ours, and nothing in any other is touched: `inet lightvm` lets networks out of this host, `bridge
lightvm` keeps guests from sending in another's name, and ARP requests for services from waking all guests.
`lightvm.daemon.net.nftables` gives them to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple, Protocol

from lightvm.errors import LinkFailed


class Nat(NamedTuple):
    """A network whose domains reach other networks with this host's addresses."""

    bridge: str
    subnet: IPv4Network


class Source(NamedTuple):
    """What a vif may send from."""

    mac: str
    ipv4: str


class ServiceRange(NamedTuple):
    """Addresses in a bridge that are kept for a service's domains."""

    bridge: str
    part: range


Guarded = Mapping[str, Source | None]
"""By port of a bridge: the only source that it may send from, or None where it may not send at all."""


class Filters(Protocol):
    """The tables. All methods block, are for worker threads, and raise `LinkFailed`, with nothing changed."""

    def rebuild(self, nats: Sequence[Nat], guarded: Guarded | None) -> None:
        """Make both tables anew at once: a guest in them notices nothing. Without `guarded` nothing is guarded."""
        ...

    def note_services(self, ranges: Sequence[ServiceRange]) -> None:
        """Let ARP requests for these addresses, and for no others, reach only vifs that are known to have them."""
        ...

    def guard(self, guarded: Guarded) -> None:
        """Guard more ports, or let those that are guarded send from somewhere else."""
        ...

    def forget(self, ports: Iterable[str]) -> None:
        """Guard some ports no longer, where they are."""
        ...

    def mend(self) -> bool:
        """Make the tables anew where somebody has removed them; return whether that was so."""
        ...


class MemoryFilters:
    """The tables in memory, for tests and for the in-memory daemon; `broken` makes it raise."""

    def __init__(self) -> None:
        self.nats: Sequence[Nat] = ()
        self.guarded: dict[str, Source | None] | None = None
        self.services: Sequence[ServiceRange] = ()
        self.broken = False

    def _check(self) -> None:
        if self.broken:
            raise LinkFailed("injected")

    def rebuild(self, nats: Sequence[Nat], guarded: Guarded | None) -> None:
        """Note the tables."""
        self._check()
        self.nats, self.guarded = nats, None if guarded is None else dict(guarded)

    def note_services(self, ranges: Sequence[ServiceRange]) -> None:
        """Note addresses."""
        self._check()
        self.services = ranges

    def guard(self, guarded: Guarded) -> None:
        """Note ports."""
        self._check()
        self.guarded = {**(self.guarded or {}), **guarded}

    def forget(self, ports: Iterable[str]) -> None:
        """Drop ports."""
        self._check()
        for port in ports:
            if self.guarded is not None:
                self.guarded.pop(port, None)

    def mend(self) -> bool:
        """Say that nobody has removed anything."""
        self._check()
        return False


# As text for nftables. A table is added before it is deleted, since deleting what is not there is an error.

_NAT_TABLE = """\
table inet lightvm {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
{forward}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{postrouting}
  }}
}}
"""

# What others did not begin is not let in: without that, whoever is next to this host could reach the guests by a route.
_FORWARD = """\
    oifname "{bridge}" ip daddr {subnet} iifname "{bridge}" accept
    oifname "{bridge}" ip daddr {subnet} ct state established,related accept
    oifname "{bridge}" ip daddr {subnet} ct status dnat accept
    oifname "{bridge}" ip daddr {subnet} counter drop
    iifname "{bridge}" ip saddr {subnet} accept"""

_POSTROUTING = """\
    ip saddr {subnet} ip daddr != {subnet} oifname != {{ "lo", "{bridge}" }} masquerade"""

# Only IPv4 and ARP: the addresses in other frames, IPv6 and frames with a VLAN tag among them, are nobody's here.
# DHCP: requests have no address yet and are dropped with it, and what only a server sends is dropped, since guests
# know their addresses already and would believe any of their neighbours.
_GUARD_TABLE = """\
table bridge lightvm {{
  set ports {{
    type ifname
{ports}
  }}
  set sources {{
    type ifname . ether_addr . ipv4_addr
{sources}
  }}
  chain from_guest {{
    ether type != {{ ip, arp }} counter drop
    ether type ip udp dport 68 counter drop
    ether type ip iifname . ether saddr . ip saddr @sources accept
    ether type arp iifname . ether saddr . arp saddr ip @sources \
iifname . arp saddr ether . arp saddr ip @sources accept
    counter drop
  }}
  chain prerouting {{
    type filter hook prerouting priority -300; policy accept;
    iifname @ports jump from_guest
  }}
}}
"""

# A domain says where it is by its first frame, which asks for its own address; where that has been forgotten, the
# daemon gives the requests to its port. Ports of others than domains, the daemon's own among them, get all.
_SERVICE_TABLE = """\
table bridge lightvm {{
  set seen {{
    type ifname . ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 1h
  }}
  chain service_seen {{
    update @seen {{ iifname . arp saddr ip }}
  }}
  chain service_arp {{
    oifname . arp daddr ip != @seen drop
  }}
  chain service_prerouting {{
    type filter hook prerouting priority -200; policy accept;
{seen}
  }}
  chain service_forward {{
    type filter hook forward priority filter; policy accept;
{asked}
  }}
  chain service_output {{
    type filter hook output priority filter; policy accept;
{asked}
  }}
}}
"""

_SEEN = """\
    iifname "vif*" meta ibrname "{bridge}" arp saddr ip {part} jump service_seen"""

_ASKED = """\
    oifname "vif*" meta obrname "{bridge}" arp operation request arp daddr ip {part} jump service_arp"""


def describe_tables(
    nats: Iterable[Nat], guarded: Guarded | None, services: Iterable[ServiceRange] = ()
) -> str:
    """Return what makes both tables anew, in one transaction."""
    text = "".join(f"add table {t} lightvm\ndelete table {t} lightvm\n" for t in ("inet", "bridge"))
    if nats := tuple(dict.fromkeys(nats)):
        text += _NAT_TABLE.format(
            forward="\n".join(_FORWARD.format(**nat._asdict()) for nat in nats),
            postrouting="\n".join(_POSTROUTING.format(**nat._asdict()) for nat in nats),
        )
    if guarded is not None:
        text += _GUARD_TABLE.format(
            ports=_elements(map(_quoted, guarded)), sources=_elements(_sources(guarded))
        )
    if ranges := [{"bridge": k.bridge, "part": _range(k.part)} for k in services]:
        text += _SERVICE_TABLE.format(
            seen="\n".join(_SEEN.format(**known) for known in ranges),
            asked="\n".join(_ASKED.format(**known) for known in ranges),
        )
    return text


def describe_added(guarded: Guarded) -> str:
    """Return what adds to the sets of guarded ports."""
    return _change("add", guarded)


def describe_removed(guarded: Guarded, *, ports: bool = True) -> str:
    """Return what takes sources out of their set, and their ports out of theirs."""
    return _change("delete", guarded, ports=ports)


def _change(verb: str, guarded: Guarded, *, ports: bool = True) -> str:
    members = {"sources": _sources(guarded)}
    if ports:
        members["ports"] = list(map(_quoted, guarded))
    return "".join(
        f"{verb} element bridge lightvm {name} {{ {', '.join(elements)} }}\n"
        for name, elements in members.items()
        if elements
    )


def _elements(elements: Iterable[str]) -> str:
    text = ", ".join(elements)
    return f"    elements = {{ {text} }}" if text else ""  # an empty list is a syntax error


def _sources(guarded: Guarded) -> list[str]:
    return [
        f"{_quoted(port)} . {source.mac} . {source.ipv4}"
        for port, source in guarded.items()
        if source is not None
    ]


def _range(part: range) -> str:
    return f"{IPv4Address(part.start)}-{IPv4Address(part.stop - 1)}"


def _quoted(port: str) -> str:
    return f'"{port}"'
