"""The tables as text, and what `NftFilters` tells the library."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from lightvm.daemon.net.filters import Filters, MemoryFilters, Nat, Port, ServiceRange, Source
from lightvm.daemon.net.nftables import Nftables, NftFilters
from lightvm.daemon.net.tables import Members, Rules, describe_tables
from lightvm.errors import LinkFailed

NAT = Nat("lvbr0", IPv4Network("10.77.0.0/24"))
SOURCE = Source("02:16:3e:00:00:05", "10.77.0.5")
OTHER = Source("02:16:3e:00:00:06", "10.77.0.6")
OWN = Port("lvbr0", True, SOURCE)
SILENT = Port("lvbr0", True, None)
OPEN = Port("lvbr0", False, OTHER)
KEPT = ServiceRange("lvbr0", range(int(IPv4Address("10.77.0.16")), int(IPv4Address("10.77.0.32"))))

REMOVED = """\
add table inet lightvm
delete table inet lightvm
add table bridge lightvm
delete table bridge lightvm
"""
NAT_TABLE = """\
table inet lightvm {
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname "lvbr0" ip daddr 10.77.0.0/24 iifname "lvbr0" accept
    oifname "lvbr0" ip daddr 10.77.0.0/24 ct state established,related accept
    oifname "lvbr0" ip daddr 10.77.0.0/24 ct status dnat accept
    oifname "lvbr0" ip daddr 10.77.0.0/24 counter drop
    iifname "lvbr0" ip saddr 10.77.0.0/24 accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.77.0.0/24 ip daddr != 10.77.0.0/24 oifname != { "lo", "lvbr0" } masquerade
  }
}
"""
GUARD_TABLE = """\
table bridge lightvm {
  set guarded {
    type ifname
    elements = { "vif5.0", "vif6.0" }
  }
  set sources {
    type ifname . ether_addr . ipv4_addr
    elements = { "vif5.0" . 02:16:3e:00:00:05 . 10.77.0.5 }
  }
  chain from_guest {
    ether type != { ip, arp } counter drop
    ether type ip udp dport 68 counter drop
    ether type ip iifname . ether saddr . ip saddr @sources accept
    ether type arp iifname . ether saddr . arp saddr ip @sources \
iifname . arp saddr ether . arp saddr ip @sources accept
    counter drop
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname @guarded jump from_guest
  }
}
"""
QUIET_TABLE = """\
table bridge lightvm {
  set ports {
    type ifname
    elements = { "vif6.0" }
  }
  set awake {
    type ifname
    size 65535
    flags dynamic
    elements = { "vif6.0" }
  }
  set owners {
    type ifname . ipv4_addr
    elements = { "vif6.0" . 10.77.0.6 }
  }
  set owned {
    type ifname . ipv4_addr
    elements = { "lvbr0" . 10.77.0.6 }
  }
  chain heard {
    type filter hook prerouting priority -200; policy accept;
    iifname "vif*" iifname != @awake iifname @ports add @awake { iifname }
  }
  chain to_guest {
    arp operation request oifname . arp daddr ip @owners accept
    arp operation request arp saddr ether & ff:ff:00:00:00:00 != 02:4c:00:00:00:00 \
iifname . arp daddr ip @owners oifname @awake accept
    arp operation request meta obrname . arp daddr ip @owned drop
    arp operation request meta obrname "lvbr0" arp daddr ip 10.77.0.16-10.77.0.31 drop
    oifname != @awake drop
  }
  chain forwarded {
    type filter hook forward priority filter; policy accept;
    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 oifname @ports jump to_guest
  }
  chain sent {
    type filter hook output priority filter; policy accept;
    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 oifname @ports jump to_guest
  }
}
"""


class Recorder(Nftables):
    """Takes commands, and fails at those that it is told to."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.failures: list[LinkFailed] = []

    def run(self, commands: str, *, json: bool = False) -> str:
        self.ran.append(commands)
        if self.failures:
            raise self.failures.pop()
        return ""

    def close(self) -> None:
        self.ran.append("closed")


def text(
    *,
    nats: tuple[Nat, ...] = (),
    ports: dict[str, Port] | None = None,
    guards: bool = True,
    quiet: bool = False,
    services: tuple[ServiceRange, ...] = (),
) -> str:
    """Return the tables."""
    return describe_tables(Rules(nats, guards, quiet, services), Members(ports or {}))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def filters(recorder: Recorder) -> NftFilters:
    """A host with one guarded port, where guests hear what others do."""
    filters = NftFilters(lambda: recorder)
    filters.rebuild((), {"vif5.0": OWN}, guards=True, quiet=False)
    recorder.ran.clear()
    return filters


@pytest.fixture
def quiet(recorder: Recorder) -> NftFilters:
    """A host with one port, whose guest hears only what concerns it."""
    filters = NftFilters(lambda: recorder)
    filters.rebuild((), {"vif6.0": OPEN}, guards=False, quiet=True)
    recorder.ran.clear()
    return filters


def test_nothing_asked_for_is_both_tables_gone() -> None:
    assert text(guards=False) == REMOVED


def test_nat_is_a_table_of_its_own() -> None:
    assert text(nats=(NAT,), guards=False) == REMOVED + NAT_TABLE


def test_networks_that_share_a_bridge_and_a_subnet_are_named_once() -> None:
    assert text(nats=(NAT, NAT), guards=False) == REMOVED + NAT_TABLE


def test_guarded_ports_are_in_a_table_of_bridges() -> None:
    ports = {"vif5.0": OWN, "vif6.0": SILENT, "vif7.0": OPEN}
    assert text(ports=ports) == REMOVED + GUARD_TABLE


def test_what_keeps_guests_asleep_is_there_too() -> None:
    ports = {"vif6.0": OPEN}
    assert text(ports=ports, guards=False, quiet=True, services=(KEPT,)) == REMOVED + QUIET_TABLE


def test_all_of_it_is_one_transaction() -> None:
    everything = text(nats=(NAT,), ports={"vif5.0": OWN, "vif6.0": SILENT}, quiet=True)
    assert everything.startswith(REMOVED + NAT_TABLE + GUARD_TABLE)


def test_sets_without_elements_name_none() -> None:
    assert "elements" not in text(quiet=True)


def test_a_port_is_guarded_before_it_may_send(filters: NftFilters, recorder: Recorder) -> None:
    filters.add({"vif6.0": SILENT})
    filters.bind({"vif6.0": OTHER})
    assert recorder.ran == [
        'add element bridge lightvm guarded { "vif6.0" }\n',
        'add element bridge lightvm sources { "vif6.0" . 02:16:3e:00:00:06 . 10.77.0.6 }\n',
    ]


def test_a_new_source_replaces_the_old_one(filters: NftFilters, recorder: Recorder) -> None:
    filters.bind({"vif5.0": OTHER})
    assert recorder.ran == [
        'delete element bridge lightvm sources { "vif5.0" . 02:16:3e:00:00:05 . 10.77.0.5 }\n'
        'add element bridge lightvm sources { "vif5.0" . 02:16:3e:00:00:06 . 10.77.0.6 }\n'
    ]


def test_a_port_is_forgotten_with_its_source_and_once(
    filters: NftFilters, recorder: Recorder
) -> None:
    for _ in range(2):
        filters.forget(["vif5.0", "vif9.0"])
    assert recorder.ran == [
        'delete element bridge lightvm sources { "vif5.0" . 02:16:3e:00:00:05 . 10.77.0.5 }\n'
        'delete element bridge lightvm guarded { "vif5.0" }\n'
    ]


def test_a_port_that_is_not_known_gets_no_addresses(
    filters: NftFilters, recorder: Recorder
) -> None:
    filters.bind({"vif9.0": OTHER})
    assert not recorder.ran


def test_an_address_that_goes_to_another_port_stays_owned(
    quiet: NftFilters, recorder: Recorder
) -> None:
    quiet.add({"vif7.0": OPEN})
    quiet.forget(["vif6.0"])
    quiet.forget(["vif7.0"])
    assert recorder.ran == [
        'add element bridge lightvm owners { "vif7.0" . 10.77.0.6 }\n'
        'add element bridge lightvm ports { "vif7.0" }\n',
        'add element bridge lightvm awake { "vif6.0" }\n'
        'delete element bridge lightvm awake { "vif6.0" }\n'
        'delete element bridge lightvm owners { "vif6.0" . 10.77.0.6 }\n'
        'delete element bridge lightvm ports { "vif6.0" }\n',
        'add element bridge lightvm awake { "vif7.0" }\n'
        'delete element bridge lightvm awake { "vif7.0" }\n'
        'delete element bridge lightvm owners { "vif7.0" . 10.77.0.6 }\n'
        'delete element bridge lightvm owned { "lvbr0" . 10.77.0.6 }\n'
        'delete element bridge lightvm ports { "vif7.0" }\n',
    ]


def test_a_change_that_fails_makes_all_anew(filters: NftFilters, recorder: Recorder) -> None:
    recorder.failures = [LinkFailed("no such table")]
    filters.add({"vif6.0": SILENT})
    assert recorder.ran[-1] == text(ports={"vif5.0": OWN, "vif6.0": SILENT})


def test_a_change_that_fails_for_good_changes_nothing(
    filters: NftFilters, recorder: Recorder
) -> None:
    recorder.failures = [LinkFailed("no"), LinkFailed("no")]
    with pytest.raises(LinkFailed):
        filters.add({"vif6.0": SILENT})
    recorder.failures = [LinkFailed("no")]
    filters.add({"vif7.0": SILENT})
    assert recorder.ran[-1] == text(ports={"vif5.0": OWN, "vif7.0": SILENT})


def test_what_only_keeps_guests_asleep_is_worth_no_error(
    quiet: NftFilters, recorder: Recorder
) -> None:
    recorder.failures = [LinkFailed("no")] * 3
    quiet.add({"vif5.0": OPEN})
    assert recorder.ran[-1] == REMOVED
    recorder.ran.clear()
    quiet.bind({"vif5.0": SOURCE})
    quiet.forget(["vif5.0"])
    assert not recorder.ran
    assert not quiet.mend()


def test_nor_is_it_where_nat_cannot_be_had_any_more(
    filters: NftFilters, recorder: Recorder
) -> None:
    filters.rebuild([NAT], {}, guards=False, quiet=True)
    recorder.failures = [LinkFailed("no")] * 3
    filters.add({"vif6.0": OPEN})
    recorder.ran.clear()
    filters.forget(["vif6.0"])
    assert not recorder.ran


def test_the_library_is_closed_once(filters: NftFilters, recorder: Recorder) -> None:
    for _ in range(2):
        filters.close()
    assert recorder.ran == ["closed"]


def no_library() -> Nftables:
    return Nftables("libnothing-at-all.so.1")


@pytest.mark.parametrize(("nats", "guards"), [((NAT,), False), ((), True)])
def test_a_missing_library_is_an_error_where_it_is_needed(
    nats: tuple[Nat, ...], guards: bool
) -> None:
    with pytest.raises(LinkFailed, match="libnftables1") as caught:
        NftFilters(no_library).rebuild(nats, {}, guards=guards, quiet=True)
    assert caught.value.where == "libnothing-at-all.so.1"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_missing_library_is_none_where_it_is_not(quiet: bool) -> None:
    filters = NftFilters(no_library)
    filters.rebuild((), {}, guards=False, quiet=quiet)
    filters.add({"vif6.0": OPEN})
    filters.note_services([KEPT])
    assert not filters.mend()


def test_the_tables_in_memory_do_the_same() -> None:
    memory = MemoryFilters()
    filters: Filters = memory
    filters.rebuild([NAT], {"vif5.0": SILENT}, guards=True, quiet=True)
    filters.add({"vif6.0": OPEN})
    filters.bind({"vif5.0": SOURCE, "vif9.0": OTHER})
    filters.forget(["vif9.0"])
    assert not filters.mend()
    assert (memory.nats, memory.ports) == ([NAT], {"vif5.0": OWN, "vif6.0": OPEN})
    assert memory.guarded == {"vif5.0": SOURCE}
    memory.broken = True
    for change in (
        lambda: memory.rebuild((), {}, guards=True, quiet=False),
        lambda: memory.add({"vif7.0": SILENT}),
        lambda: memory.bind({"vif5.0": OTHER}),
        lambda: memory.forget(["vif5.0"]),
        lambda: memory.mend(),
    ):
        with pytest.raises(LinkFailed, match="injected"):
            change()
    filters.add({"vif7.0": OPEN})
    filters.forget(["vif6.0"])
    assert memory.ports == {"vif5.0": OWN, "vif6.0": OPEN}


def test_a_change_of_services_makes_the_tables_anew_with_all_that_was(
    quiet: NftFilters, recorder: Recorder
) -> None:
    quiet.note_services([KEPT])
    quiet.note_services([KEPT])
    quiet.note_services([])
    ports = {"vif6.0": OPEN}
    assert recorder.ran == [
        text(ports=ports, guards=False, quiet=True, services=(KEPT,)),
        text(ports=ports, guards=False, quiet=True),
    ]


def test_where_guests_cannot_be_kept_asleep_the_rest_is_done(
    filters: NftFilters, recorder: Recorder
) -> None:
    recorder.failures = [LinkFailed("Operation not supported")]
    filters.rebuild([NAT], {"vif5.0": OWN}, guards=True, quiet=True)
    assert recorder.ran == [
        text(nats=(NAT,), ports={"vif5.0": OWN}, quiet=True),
        text(nats=(NAT,), ports={"vif5.0": OWN}),
    ]
    recorder.ran.clear()
    filters.note_services([KEPT])
    filters.add({"vif6.0": SILENT})
    assert recorder.ran == ['add element bridge lightvm guarded { "vif6.0" }\n']
