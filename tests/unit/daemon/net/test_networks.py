"""Networks: addresses for a whole domain or for none, and what guests and callers are told of them."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from lightvm.daemon.config import Config, NetworkSection
from lightvm.daemon.net.networks import NOTHING, Networks
from lightvm.errors import AddressTaken, BadRequest, LightVMError, NoSuchNetwork, OutOfAddresses
from lightvm.model import NetRequest, Vif
from lightvm.testing import MemoryPorts, MemoryStore
from lightvm.xen.device_page import VIF_CONFIG

LAN = NetworkSection(
    bridge="br0", address="10.0.0.1/29", ranges=("10.0.0.2-10.0.0.3",), dns=("9.9.9.9",), mtu=9000
)
BARE = NetworkSection(bridge="br1")
MAC = "0a:00:00:00:00:01"


@pytest.fixture
def ports() -> MemoryPorts:
    return MemoryPorts(MemoryStore())


@pytest.fixture
def networks(ports: MemoryPorts) -> Networks:
    return Networks(Config(networks={"lan": LAN, "bare": BARE}), ports)


def lan(*, mac: str | None = None, ipv4: str | None = None) -> NetRequest:
    return NetRequest(network="lan", mac=mac, ipv4=ipv4)


def taken(networks: Networks) -> int:
    """Return how many addresses domains have."""
    pool = networks["lan"].pool
    assert pool is not None
    return len(pool.taken) + len(networks._macs.taken)


# Assignments


def test_a_domain_without_networks_has_nothing(networks: Networks) -> None:
    assert networks.assign(()) is NOTHING
    assert (NOTHING.vifs, NOTHING.packed) == ((), b"")


def test_addresses_are_chosen_where_none_are_asked_for(networks: Networks) -> None:
    vifs = networks.assign([lan(), lan()]).vifs
    assert [vif.ipv4 for vif in vifs] == ["10.0.0.2/29", "10.0.0.3/29"]
    assert [vif.network for vif in vifs] == ["lan", "lan"]
    assert len({vif.mac for vif in vifs}) == 2


def test_addresses_that_are_asked_for_are_given(networks: Networks) -> None:
    (vif,) = networks.assign([lan(mac=MAC.upper(), ipv4="10.0.0.6")]).vifs
    assert vif == Vif(network="lan", mac=MAC, ipv4="10.0.0.6/29")


def test_a_network_without_an_address_gives_a_mac_address_only(networks: Networks) -> None:
    (vif,) = networks.assign([NetRequest(network="bare")]).vifs
    assert vif.ipv4 is None
    assert vif.mac


def test_an_ip_address_in_a_network_that_has_none_is_refused(networks: Networks) -> None:
    with pytest.raises(BadRequest) as caught:
        networks.assign([lan(), NetRequest(network="bare", ipv4="10.0.0.6")])
    assert caught.value.where == "request.nets[1].ipv4"
    assert taken(networks) == 0


@pytest.mark.parametrize(
    ("bad", "error", "where"),
    [
        (NetRequest(network="none"), NoSuchNetwork, "none"),
        (lan(ipv4="10.0.0.2"), AddressTaken, "request.nets[1].ipv4"),
        (lan(ipv4="10.0.0.1"), AddressTaken, "request.nets[1].ipv4"),
        (lan(ipv4="10.0.1.1", mac=MAC), AddressTaken, "request.nets[1].ipv4"),
    ],
    ids=["network", "own", "gateway", "outside"],
)
def test_a_domain_gets_all_its_addresses_or_none(
    networks: Networks, bad: NetRequest, error: type[LightVMError], where: str
) -> None:
    with pytest.raises(error) as caught:
        networks.assign([lan(), bad])
    assert caught.value.where == where
    assert taken(networks) == 0


def test_a_mac_address_of_another_domain_is_refused_and_stays_that_domain_s(
    networks: Networks,
) -> None:
    networks.assign([lan(mac=MAC)])
    with pytest.raises(AddressTaken) as caught:
        networks.assign([lan(), lan(mac=MAC)])
    assert caught.value.where == "request.nets[1].mac"
    with pytest.raises(AddressTaken):
        networks.assign([lan(mac=MAC)])


def test_a_network_that_runs_out_in_the_middle_of_a_domain_keeps_what_it_had(
    networks: Networks,
) -> None:
    with pytest.raises(OutOfAddresses):
        networks.assign([lan()] * 3)
    assert taken(networks) == 0
    assert len(networks.assign([lan()] * 2).vifs) == 2


def test_one_mac_address_cannot_be_in_two_networks(networks: Networks) -> None:
    with pytest.raises(AddressTaken):
        networks.assign([lan(mac=MAC), NetRequest(network="bare", mac=MAC)])
    assert taken(networks) == 0


# Back and forth


def test_addresses_that_are_released_can_be_had_again(networks: Networks) -> None:
    asked = [lan(mac=MAC, ipv4="10.0.0.6")]
    networks.release(networks.assign(asked).vifs)
    assert taken(networks) == 0
    networks.assign(asked)


def test_releasing_twice_is_as_releasing_once(networks: Networks) -> None:
    vifs = networks.assign([lan()]).vifs
    networks.release(vifs)
    networks.release(vifs)
    assert taken(networks) == 0


def test_addresses_of_a_domain_that_was_adopted_are_taken(networks: Networks) -> None:
    networks.keep([Vif(network="lan", mac=MAC, ipv4="10.0.0.2/29")])
    with pytest.raises(AddressTaken):
        networks.assign([lan(mac=MAC)])
    (vif,) = networks.assign([lan()]).vifs
    assert vif.ipv4 == "10.0.0.3/29"


@pytest.mark.parametrize("network", ["gone", "bare"])
def test_a_domain_of_a_network_that_is_configured_no_more_keeps_its_mac_address(
    networks: Networks, network: str
) -> None:
    old = [Vif(network=network, mac=MAC, ipv4="10.9.0.2/24")]
    networks.keep(old)
    with pytest.raises(AddressTaken):
        networks.assign([lan(mac=MAC)])
    networks.release(old)
    networks.assign([lan(mac=MAC)])


# What guests are told


def test_a_guest_is_told_all_that_is_known_of_its_vif(networks: Networks) -> None:
    packed = networks.assign([lan(mac=MAC)]).packed
    mac, mtu, ipv4, gateway, *dns, prefix, prefix6, ipv6, gateway6 = VIF_CONFIG.unpack(packed)
    assert (mac.hex(":"), mtu) == (MAC, 9000)
    assert (ipv4, gateway, prefix) == (bytes([10, 0, 0, 2]), bytes([10, 0, 0, 1]), 29)
    assert dns == [bytes([9, 9, 9, 9]), bytes(4)]
    assert (prefix6, ipv6, gateway6) == (0, bytes(16), bytes(16))


def test_a_guest_of_a_network_without_an_address_is_told_to_find_out(networks: Networks) -> None:
    packed = networks.assign([NetRequest(network="bare", mac=MAC)]).packed
    assert len(packed) == VIF_CONFIG.size
    assert packed[:8] == bytes.fromhex(MAC.replace(":", "")) + (1500).to_bytes(2, "little")
    assert not any(packed[8:])


def test_each_vif_has_its_own_part(networks: Networks) -> None:
    assignment = networks.assign([lan(), NetRequest(network="bare")])
    assert len(assignment.packed) == 2 * VIF_CONFIG.size
    for index, vif in enumerate(assignment.vifs):
        at = index * VIF_CONFIG.size
        assert assignment.packed[at : at + 6].hex(":") == vif.mac


def test_another_gateway_is_told_and_is_nobody_s_address(ports: MemoryPorts) -> None:
    section = NetworkSection(bridge="br0", address="10.0.0.1/29", gateway="10.0.0.2")
    networks = Networks(Config(networks={"lan": section}), ports)
    assignment = networks.assign([lan()])
    assert assignment.vifs[0].ipv4 == "10.0.0.3/29"
    assert VIF_CONFIG.unpack(assignment.packed)[3] == bytes([10, 0, 0, 2])


# Ports


def test_each_network_has_its_bridge(networks: Networks, ports: MemoryPorts) -> None:
    networks.ensure_bridges()
    assert ports.bridges == {"br0": IPv4Interface("10.0.0.1/29"), "br1": None}


def test_a_vif_goes_into_the_bridge_of_its_network(networks: Networks, ports: MemoryPorts) -> None:
    ports._store.write("/local/domain/0/backend/vif/7/0/state", "1")
    networks.add_port("bare", "vif7.0")
    assert ports.ports == {"vif7.0": "br1"}


def test_a_network_that_is_not_there_has_no_ports(networks: Networks) -> None:
    with pytest.raises(NoSuchNetwork):
        networks.add_port("none", "vif7.0")


# Names


def test_a_network_is_known_by_its_bridge_too(networks: Networks) -> None:
    wanted = [lan(mac=MAC), NetRequest(network=networks["bare"].bridge), NetRequest(network="none")]
    assert networks.resolve(wanted) == (
        lan(mac=MAC),
        NetRequest(network="bare"),
        NetRequest(network="none"),
    )


def test_a_bridge_of_several_networks_means_none_of_them(ports: MemoryPorts) -> None:
    shared = {name: NetworkSection(bridge="br0") for name in ("one", "two")}
    networks = Networks(Config(networks=shared), ports)
    with pytest.raises(NoSuchNetwork, match="one, two") as caught:
        networks.resolve([NetRequest(network="br0")])
    assert caught.value.where == "br0"


# Addresses that shells have ahead


def test_a_domain_gets_what_its_shell_has_ahead(networks: Networks) -> None:
    leases = networks.draw_ahead(["lan", "bare"])
    assignment = networks.assign([lan(), NetRequest(network="bare")], ahead=leases)
    assert assignment.vifs == tuple(lease.vif for lease in leases)
    assert assignment.packed == b"".join(lease.packed for lease in leases)
    networks.take_back(*leases)  # they are the domain's now
    assert taken(networks) == 3
    networks.release(assignment.vifs)
    assert taken(networks) == 0


def test_what_a_shell_has_ahead_and_nobody_wants_is_free_again(networks: Networks) -> None:
    leases = networks.draw_ahead(["lan"])
    (vif,) = networks.assign([lan(mac=MAC, ipv4="10.0.0.6")], ahead=leases).vifs
    assert (vif.mac, vif.ipv4) == (MAC, "10.0.0.6/29")
    assert taken(networks) == 2
    leases = networks.draw_ahead(["lan"])
    networks.take_back(*leases)
    networks.take_back(*leases)
    assert taken(networks) == 2


def test_who_asks_for_an_address_that_a_shell_has_ahead_gets_it(networks: Networks) -> None:
    leases = networks.draw_ahead(["lan", "lan"])
    first, second = (lease.vif for lease in leases)
    assert first.ipv4 is not None
    (vif,) = networks.assign([lan(ipv4=first.ipv4.partition("/")[0], mac=second.mac.upper())]).vifs
    assert (vif.ipv4, vif.mac) == (first.ipv4, second.mac)
    with pytest.raises(AddressTaken):
        networks.assign([lan(mac=second.mac)])
    (other,) = networks.assign([lan()], ahead=leases).vifs  # it has lost what it had
    assert other.ipv4 not in (None, vif.ipv4)


def test_two_vifs_cannot_have_the_address_that_their_shell_has_ahead(networks: Networks) -> None:
    leases = networks.draw_ahead(["lan", "lan"])
    mine = (leases[0].vif.ipv4 or "").partition("/")[0]
    with pytest.raises(AddressTaken):
        networks.assign([lan(), lan(ipv4=mine)], ahead=leases)
    assert taken(networks) == 4
    assignment = networks.assign([lan(), lan()], ahead=leases)  # the shell still has them
    assert assignment.vifs == tuple(lease.vif for lease in leases)


def test_what_shells_have_ahead_keeps_no_address_from_anybody(networks: Networks) -> None:
    shells = [networks.draw_ahead(["lan"]) for _ in range(10)]
    free = sum(1 for leases in shells if leases)
    assert free == len(networks["lan"].ahead) < 10
    vifs = [networks.assign([lan(mac=MAC)]).vifs[0]]
    vifs += [networks.assign([lan()], ahead=leases).vifs[0] for leases in shells[: free - 1]]
    assert len({vif.ipv4 for vif in vifs}) == free
    with pytest.raises(OutOfAddresses):
        networks.assign([lan()])


def test_a_shell_has_addresses_in_all_its_networks_or_in_none(networks: Networks) -> None:
    while networks.draw_ahead(["lan"]):
        pass
    before = taken(networks)
    assert networks.draw_ahead(["bare", "lan"]) == ()
    assert taken(networks) == before


def test_a_mac_address_is_made_of_the_ipv4_address_where_that_can_be(networks: Networks) -> None:
    (vif,) = networks.assign([lan()]).vifs
    assert (vif.mac, vif.ipv4) == ("02:4c:0a:00:00:02", "10.0.0.2/29")
    networks.assign([NetRequest(network="bare", mac="02:4c:0a:00:00:03")])
    (vif,) = networks.assign([lan()]).vifs
    assert vif.ipv4 == "10.0.0.3/29"
    assert vif.mac.startswith("02:16:3e:")
