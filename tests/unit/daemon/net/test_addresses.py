"""Addresses: each is one domain's, and one that was given back rests for a while."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from lightvm.daemon.net.addresses import (
    RANDOM_MAC_PREFIX,
    AddressPool,
    MacPool,
    parse_ranges,
    subtract,
)
from lightvm.errors import AddressTaken, BadConfig, OutOfAddresses

NETWORK = IPv4Network("10.0.0.0/29")
"""10.0.0.0 to 10.0.0.7, the first and the last not for hosts."""


def number(text: str) -> int:
    return int(IPv4Address(text))


def text(address: int) -> str:
    return str(IPv4Address(address))


def pool(*ranges: str, reserved: str = "10.0.0.1") -> AddressPool:
    parsed = parse_ranges(ranges or [str(NETWORK)], NETWORK, "here")
    return AddressPool(NETWORK, parsed, {number(reserved)})


def parts(*texts: str) -> list[range]:
    return parse_ranges(texts, NETWORK, "here")


def take(addresses: AddressPool, count: int = 1) -> list[str]:
    return [text(addresses.take("lan")) for _ in range(count)]


def test_one_range_less_another_is_what_is_left() -> None:
    assert subtract(range(1, 9), range(3, 5)) == [range(1, 3), range(5, 9)]
    assert subtract(range(1, 9), range(9, 12)) == [range(1, 9)]
    assert subtract(range(1, 9), range(12, 15)) == [range(1, 9)]
    assert subtract(range(1, 9), range(9)) == []


def test_what_is_kept_for_a_service_is_claimed_by_its_token_only() -> None:
    addresses = pool()
    addresses.keep("web", [range(number("10.0.0.3"), number("10.0.0.6"))])
    assert take(addresses, 2) == ["10.0.0.2", "10.0.0.6"]
    for token in (None, "service:web:10.0.0.4", "service:other:10.0.0.3"):
        with pytest.raises(AddressTaken, match="service web"):
            addresses.claim(number("10.0.0.3"), "here", token)
    assert addresses.claim(number("10.0.0.3"), "here", "service:web:10.0.0.3")


def test_what_is_not_kept_any_more_is_handed_out_again() -> None:
    addresses = pool()
    addresses.keep("web", parts("10.0.0.2-10.0.0.4"))
    addresses.keep("two", parts("10.0.0.5"))
    assert take(addresses) == ["10.0.0.6"]
    addresses.let_go("web")
    assert take(addresses, 3) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    with pytest.raises(OutOfAddresses):
        addresses.take("lan")


def test_a_network_whose_addresses_are_all_kept_has_none_until_they_are_not() -> None:
    addresses = pool()
    addresses.keep("web", parts("10.0.0.0/29"))
    with pytest.raises(OutOfAddresses):
        addresses.take("lan")
    addresses.let_go("web")
    assert take(addresses) == ["10.0.0.2"]


@pytest.mark.parametrize(
    ("kept", "following"),
    [
        (["10.0.0.2"], "10.0.0.4"),
        (["10.0.0.6"], "10.0.0.4"),
        (["10.0.0.4", "10.0.0.5"], "10.0.0.6"),
        (["10.0.0.4-10.0.0.6"], "10.0.0.2"),
    ],
)
def test_addresses_go_on_in_turn_where_some_are_kept_from_now_on(
    kept: list[str], following: str
) -> None:
    addresses = pool("10.0.0.2-10.0.0.6")
    assert take(addresses, 2) == ["10.0.0.2", "10.0.0.3"]
    addresses.taken.clear()
    addresses.keep("web", parts(*kept))
    assert take(addresses) == [following]


# Addresses in turn


def test_addresses_are_handed_out_in_turn_but_for_those_that_are_reserved() -> None:
    assert take(pool(), 5) == [f"10.0.0.{n}" for n in range(2, 7)]


def test_ranges_are_used_one_after_the_other() -> None:
    addresses = pool("10.0.0.5-10.0.0.6", "10.0.0.2-10.0.0.3")
    assert take(addresses, 4) == ["10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3"]


def test_an_address_that_was_given_back_rests_until_the_others_have_had_their_turn() -> None:
    addresses = pool("10.0.0.2-10.0.0.4")
    (first,) = take(addresses)
    addresses.taken.discard(number(first))
    assert take(addresses, 3) == ["10.0.0.3", "10.0.0.4", first]


def test_one_address_is_handed_out_again_and_again() -> None:
    addresses = pool("10.0.0.4")
    for _ in range(3):
        assert take(addresses) == ["10.0.0.4"]
        addresses.taken.clear()


def test_an_address_that_was_claimed_is_passed_over() -> None:
    addresses = pool("10.0.0.2-10.0.0.4")
    addresses.claim(number("10.0.0.3"), "here")
    assert take(addresses, 2) == ["10.0.0.2", "10.0.0.4"]


def test_a_pool_without_a_free_address_says_which_network_it_is() -> None:
    addresses = pool()
    take(addresses, 5)
    with pytest.raises(OutOfAddresses) as caught:
        addresses.take("lan")
    assert caught.value.where == "lan"


def test_a_pool_that_was_empty_hands_out_what_comes_back() -> None:
    addresses = pool()
    take(addresses, 5)
    addresses.taken.discard(number("10.0.0.4"))
    assert take(addresses) == ["10.0.0.4"]


def test_a_range_of_reserved_addresses_only_has_none() -> None:
    with pytest.raises(OutOfAddresses):
        pool("10.0.0.0-10.0.0.1").take("lan")


# Addresses that are asked for


def test_an_address_outside_of_the_ranges_can_be_claimed() -> None:
    addresses = pool("10.0.0.2-10.0.0.3")
    assert text(addresses.claim(number("10.0.0.6"), "here")) == "10.0.0.6"


@pytest.mark.parametrize(
    "address",
    ["10.0.0.0", "10.0.0.7", "10.0.0.1", "10.0.0.8", "9.255.255.255"],
    ids=["network", "broadcast", "reserved", "above", "below"],
)
def test_an_address_that_is_not_for_domains_cannot_be_claimed(address: str) -> None:
    addresses = pool()
    with pytest.raises(AddressTaken) as caught:
        addresses.claim(number(address), "request.nets[0].ipv4")
    assert caught.value.where == "request.nets[0].ipv4"
    assert not addresses.taken


@pytest.mark.parametrize("how", ["taken", "claimed"])
def test_an_address_that_a_domain_has_cannot_be_claimed(how: str) -> None:
    addresses = pool("10.0.0.2")
    if how == "taken":
        take(addresses)
    else:
        addresses.claim(number("10.0.0.2"), "here")
    with pytest.raises(AddressTaken, match="another domain's"):
        addresses.claim(number("10.0.0.2"), "here")


# MAC addresses


def test_new_mac_addresses_are_local_unicast_and_each_of_its_own() -> None:
    macs = MacPool()
    taken = {macs.take(None) for _ in range(1000)}
    assert len(taken) == 1000
    assert all(mac.startswith(RANDOM_MAC_PREFIX) and len(mac) == 6 for mac in taken)
    assert RANDOM_MAC_PREFIX[0] & 3 == 2


def test_a_mac_address_that_a_domain_has_is_not_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = iter([1, 1, 2])
    monkeypatch.setattr("random.getrandbits", lambda bits: next(drawn))
    macs = MacPool()
    assert [macs.take(None), macs.take(None)] == [
        RANDOM_MAC_PREFIX + b"\0\0\1",
        RANDOM_MAC_PREFIX + b"\0\0\2",
    ]


def test_a_mac_address_can_be_claimed_once() -> None:
    macs, mac = MacPool(), bytes.fromhex("0a0000000001")
    assert macs.claim(mac, "here") == mac
    with pytest.raises(AddressTaken) as caught:
        macs.claim(mac, "request.nets[0].mac")
    assert caught.value.where == "request.nets[0].mac"
    assert "0a:00:00:00:00:01" in str(caught.value)


# Ranges


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("10.0.0.2-10.0.0.4", "10.0.0.2", "10.0.0.4"),
        ("10.0.0.2-10.0.0.2", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.4/30", "10.0.0.4", "10.0.0.7"),
        ("10.0.0.4", "10.0.0.4", "10.0.0.4"),
    ],
)
def test_a_range_has_both_its_ends(written: str, first: str, last: str) -> None:
    (found,) = parse_ranges([written], NETWORK, "here")
    assert (text(found[0]), text(found[-1])) == (first, last)


@pytest.mark.parametrize(
    "written",
    [
        "10.0.0.4-10.0.0.2",
        "10.0.0.4-10.0.0.8",
        "9.0.0.1-10.0.0.2",
        "10.0.0.0/28",
        "10.0.0.5/30",
        "10.0.0.2-",
        "some",
        "",
    ],
)
def test_a_range_that_is_none_in_the_network_is_refused(written: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parse_ranges([written], NETWORK, "networks.lan")
    assert caught.value.where == "networks.lan"


def test_a_gateway_is_given_only_to_who_asks_for_it() -> None:
    (ranges,) = parse_ranges(["10.0.0.1-10.0.0.3"], NETWORK, "x")
    pool = AddressPool(NETWORK, [ranges], {number("10.0.0.1")}, number("10.0.0.2"))
    assert pool.take("n") == number("10.0.0.3")
    with pytest.raises(OutOfAddresses):
        pool.take("n")
    assert pool.claim(number("10.0.0.2"), "w") == number("10.0.0.2")
