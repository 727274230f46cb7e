"""Our tables of nftables as text: what makes them, and what changes the sets in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

from lightvm.daemon.net.addresses import MAC_PREFIX
from lightvm.daemon.net.filters import Nat, Port, ServiceRange

# A table is added before it is deleted, since deleting what is not there is an error.

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
  set guarded {{
    type ifname
{guarded}
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
    iifname @guarded jump from_guest
  }}
}}
"""

# What is for all reaches a vif once it has sent something: before, nobody is there. An ARP request for an address that
# we have given to a vif reaches that one only. An announcement, by which somebody asks for his own address, tells
# others nothing new where the MAC address is made of the IPv4 address.
_QUIET_TABLE = """\
table bridge lightvm {{
  set ports {{
    type ifname
{ports}
  }}
  set awake {{
    type ifname
    size 65535
    flags dynamic
{ports}
  }}
  set owners {{
    type ifname . ipv4_addr
{owners}
  }}
  set owned {{
    type ifname . ipv4_addr
{owned}
  }}
  chain heard {{
    type filter hook prerouting priority -200; policy accept;
    iifname "vif*" iifname != @awake iifname @ports add @awake {{ iifname }}
  }}
  chain to_guest {{
    arp operation request oifname . arp daddr ip @owners accept
    arp operation request arp saddr ether & ff:ff:00:00:00:00 != {prefix}:00:00:00:00 \
iifname . arp daddr ip @owners oifname @awake accept
    arp operation request meta obrname . arp daddr ip @owned drop
{services}
    oifname != @awake drop
  }}
  chain forwarded {{
    type filter hook forward priority filter; policy accept;
    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 oifname @ports jump to_guest
  }}
  chain sent {{
    type filter hook output priority filter; policy accept;
    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 oifname @ports jump to_guest
  }}
}}
"""

_SERVICE = """\
    arp operation request meta obrname "{bridge}" arp daddr ip {part} drop"""

Change = Mapping[str, tuple[Port | None, Port | None]]
"""By name: what a port was, and what it is to be."""


class Rules(NamedTuple):
    """What the tables hold beside ports."""

    nats: tuple[Nat, ...] = ()
    guards: bool = False
    quiet: bool = False
    services: tuple[ServiceRange, ...] = ()

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets that there are, in the order in which they are added to."""
        return ("sources", "guarded") * self.guards + ("owners", "owned", "ports") * self.quiet


class Members:
    """What is in our sets. Two ports can be the reason for the same, while one takes the other's place."""

    def __init__(self, ports: Mapping[str, Port]) -> None:
        self._reasons = Counter(member for name in ports for member in _members(name, ports[name]))

    def of(self, owner: str) -> list[str]:
        """Return the elements of a set."""
        return [element for name, element in self._reasons if name == owner]

    def change(self, change: Change, sets: Collection[str]) -> str:
        """Change what ports are, and return the commands for some sets."""
        before = Counter(member for name in change for member in _members(name, change[name][0]))
        after = Counter(member for name in change for member in _members(name, change[name][1]))
        touched = before.keys() | after.keys()
        there = touched & self._reasons.keys()
        self._reasons.subtract(before)
        self._reasons.update(after)
        for member in touched:
            if not self._reasons[member]:
                del self._reasons[member]
        remaining = touched & self._reasons.keys()
        gone = there - remaining
        # The kernel has added to this one, or not.
        awake = [("awake", element) for name, element in gone if name == "ports" and name in sets]
        return (
            _command("add", awake, ("awake",))
            + _command("delete", [*gone, *awake], ("awake", *sets))
            + _command("add", remaining - there, sets)
        )


def describe_tables(rules: Rules, members: Members) -> str:
    """Return what makes both tables anew, in one transaction.

    All ports in them count as awake: a guest may wait in silence for what is for all.
    """
    text = "".join(f"add table {t} lightvm\ndelete table {t} lightvm\n" for t in ("inet", "bridge"))
    if nats := tuple(dict.fromkeys(rules.nats)):
        text += _NAT_TABLE.format(
            forward="\n".join(_FORWARD.format(**nat._asdict()) for nat in nats),
            postrouting="\n".join(_POSTROUTING.format(**nat._asdict()) for nat in nats),
        )
    elements = {name: _elements(members.of(name)) for name in rules.sets}
    if rules.guards:
        text += _GUARD_TABLE.format(**elements)
    if rules.quiet:
        services = (
            _SERVICE.format(bridge=kept.bridge, part=_range(kept.part)) for kept in rules.services
        )
        text += _QUIET_TABLE.format(
            **elements, prefix=MAC_PREFIX.hex(":"), services="\n".join(services)
        )
    return text


def _members(name: str, port: Port | None) -> Iterator[tuple[str, str]]:
    """Yield what a port is the reason for: sets and elements."""
    if port is None:
        return
    quoted = f'"{name}"'
    yield "ports", quoted
    if port.guarded:
        yield "guarded", quoted
    if port.source is not None:
        mac, ipv4 = port.source
        yield "owners", f"{quoted} . {ipv4}"
        yield "owned", f'"{port.bridge}" . {ipv4}'
        if port.guarded:
            yield "sources", f"{quoted} . {mac} . {ipv4}"


def _command(verb: str, members: Collection[tuple[str, str]], sets: Iterable[str]) -> str:
    text = ""
    for name in sets:
        if elements := sorted(element for owner, element in members if owner == name):
            text += f"{verb} element bridge lightvm {name} {{ {', '.join(elements)} }}\n"
    return text


def _elements(elements: Iterable[str]) -> str:
    text = ", ".join(elements)
    return f"    elements = {{ {text} }}" if text else ""  # an empty list is a syntax error


def _range(part: range) -> str:
    return f"{IPv4Address(part.start)}-{IPv4Address(part.stop - 1)}"
