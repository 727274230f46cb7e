"""The tables as text, and what `NftFilters` tells the library."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from lightvm.daemon.net.filters import (
    Filters,
    MemoryFilters,
    Nat,
    ServiceRange,
    Source,
    describe_tables,
)
from lightvm.daemon.net.nftables import Nftables, NftFilters
from lightvm.errors import LinkFailed

NAT = Nat("lvbr0", IPv4Network("10.77.0.0/24"))
OWN = Source("02:16:3e:00:00:05", "10.77.0.5")
OTHER = Source("02:16:3e:00:00:06", "10.77.0.6")

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
  set ports {
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
    iifname @ports jump from_guest
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


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def filters(recorder: Recorder) -> NftFilters:
    filters = NftFilters(lambda: recorder)
    filters.rebuild((), {"vif5.0": OWN})
    recorder.ran.clear()
    return filters


def test_nothing_asked_for_is_both_tables_gone() -> None:
    assert describe_tables((), None) == REMOVED


def test_nat_is_a_table_of_its_own() -> None:
    assert describe_tables([NAT], None) == REMOVED + NAT_TABLE


def test_networks_that_share_a_bridge_and_a_subnet_are_named_once() -> None:
    assert describe_tables([NAT, NAT], None) == REMOVED + NAT_TABLE


def test_guarded_ports_are_in_a_table_of_their_own() -> None:
    assert describe_tables((), {"vif5.0": OWN, "vif6.0": None}) == REMOVED + GUARD_TABLE


def test_both_tables_are_one_transaction() -> None:
    guarded = {"vif5.0": OWN, "vif6.0": None}
    assert describe_tables([NAT], guarded) == REMOVED + NAT_TABLE + GUARD_TABLE


def test_sets_without_elements_name_none() -> None:
    assert "elements" not in describe_tables((), {})


def test_a_port_is_guarded_before_it_may_send(filters: NftFilters, recorder: Recorder) -> None:
    filters.guard({"vif6.0": None})
    filters.guard({"vif6.0": OTHER})
    assert recorder.ran == [
        'add element bridge lightvm ports { "vif6.0" }\n',
        'add element bridge lightvm sources { "vif6.0" . 02:16:3e:00:00:06 . 10.77.0.6 }\n'
        'add element bridge lightvm ports { "vif6.0" }\n',
    ]


def test_a_new_source_replaces_the_old_one(filters: NftFilters, recorder: Recorder) -> None:
    filters.guard({"vif5.0": OTHER})
    assert recorder.ran == [
        'delete element bridge lightvm sources { "vif5.0" . 02:16:3e:00:00:05 . 10.77.0.5 }\n'
        'add element bridge lightvm sources { "vif5.0" . 02:16:3e:00:00:06 . 10.77.0.6 }\n'
        'add element bridge lightvm ports { "vif5.0" }\n'
    ]


def test_a_port_is_forgotten_with_its_source_and_once(
    filters: NftFilters, recorder: Recorder
) -> None:
    for _ in range(2):
        filters.forget(["vif5.0", "vif9.0"])
    assert recorder.ran == [
        'delete element bridge lightvm sources { "vif5.0" . 02:16:3e:00:00:05 . 10.77.0.5 }\n'
        'delete element bridge lightvm ports { "vif5.0" }\n'
    ]


def test_a_change_that_fails_makes_all_anew(filters: NftFilters, recorder: Recorder) -> None:
    recorder.failures = [LinkFailed("no such table")]
    filters.guard({"vif6.0": None})
    assert recorder.ran[-1] == describe_tables((), {"vif5.0": OWN, "vif6.0": None})


def test_a_change_that_fails_for_good_changes_nothing(
    filters: NftFilters, recorder: Recorder
) -> None:
    recorder.failures = [LinkFailed("no"), LinkFailed("no")]
    with pytest.raises(LinkFailed):
        filters.guard({"vif6.0": None})
    recorder.failures = [LinkFailed("no")]
    filters.guard({"vif7.0": None})
    assert recorder.ran[-1] == describe_tables((), {"vif5.0": OWN, "vif7.0": None})


def test_the_library_is_closed_once(filters: NftFilters, recorder: Recorder) -> None:
    for _ in range(2):
        filters.close()
    assert recorder.ran == ["closed"]


def no_library() -> Nftables:
    return Nftables("libnothing-at-all.so.1")


@pytest.mark.parametrize(("nats", "guarded"), [((NAT,), None), ((), {})])
def test_a_missing_library_is_an_error_where_it_is_needed(
    nats: tuple[Nat, ...], guarded: dict[str, Source | None] | None
) -> None:
    with pytest.raises(LinkFailed, match="libnftables1") as caught:
        NftFilters(no_library).rebuild(nats, guarded)
    assert caught.value.where == "libnothing-at-all.so.1"


def test_a_missing_library_is_none_where_it_is_not() -> None:
    NftFilters(no_library).rebuild((), None)


def test_the_tables_in_memory_do_the_same() -> None:
    memory = MemoryFilters()
    filters: Filters = memory
    filters.rebuild([NAT], {"vif5.0": None})
    filters.guard({"vif6.0": OTHER})
    filters.guard({"vif5.0": OWN})
    filters.forget(["vif6.0", "vif9.0"])
    assert not filters.mend()
    assert (memory.nats, memory.guarded) == ([NAT], {"vif5.0": OWN})
    memory.broken = True
    for change in (
        lambda: memory.rebuild((), None),
        lambda: memory.guard({"vif6.0": None}),
        lambda: memory.forget(["vif5.0"]),
        lambda: memory.mend(),
    ):
        with pytest.raises(LinkFailed, match="injected"):
            change()
    assert memory.guarded == {"vif5.0": OWN}


SERVICE_RULES = """\
  chain service_prerouting {
    type filter hook prerouting priority -200; policy accept;
    iifname "vif*" meta ibrname "lvbr0" arp saddr ip 10.77.0.16-10.77.0.31 jump service_seen
  }
  chain service_forward {
    type filter hook forward priority filter; policy accept;
    oifname "vif*" meta obrname "lvbr0" arp operation request arp daddr ip 10.77.0.16-10.77.0.31 jump service_arp
  }
  chain service_output {
    type filter hook output priority filter; policy accept;
    oifname "vif*" meta obrname "lvbr0" arp operation request arp daddr ip 10.77.0.16-10.77.0.31 jump service_arp
  }
}
"""
KEPT = ServiceRange("lvbr0", range(int(IPv4Address("10.77.0.16")), int(IPv4Address("10.77.0.32"))))


def test_services_are_in_the_table_of_bridges() -> None:
    assert describe_tables((), None, [KEPT]).endswith(SERVICE_RULES)
    assert GUARD_TABLE in describe_tables((), {"vif5.0": OWN, "vif6.0": None}, [KEPT])


def test_a_change_of_services_makes_the_tables_anew_with_all_that_was(
    filters: NftFilters, recorder: Recorder
) -> None:
    filters.note_services([KEPT])
    filters.note_services([KEPT])
    filters.note_services([])
    guarded = {"vif5.0": OWN}
    assert recorder.ran == [
        describe_tables((), guarded, [KEPT]),
        describe_tables((), guarded),
    ]


def test_where_services_cannot_be_filtered_the_rest_is(
    filters: NftFilters, recorder: Recorder
) -> None:
    filters.rebuild([NAT], {"vif5.0": OWN})
    recorder.ran.clear()
    recorder.failures = [LinkFailed("Operation not supported")]
    filters.note_services([KEPT])
    assert recorder.ran == [
        describe_tables([NAT], {"vif5.0": OWN}, [KEPT]),
        describe_tables([NAT], {"vif5.0": OWN}),
    ]
    recorder.ran.clear()
    filters.guard({"vif6.0": None})
    assert recorder.ran == ['add element bridge lightvm ports { "vif6.0" }\n']
