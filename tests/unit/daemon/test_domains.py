"""Names, and how domains are found by them."""

from __future__ import annotations

import pytest

from lightvm.daemon.domains import LiveDomain, Registry, check_name, dashed
from lightvm.errors import BadRequest, NameTaken, NoSuchDomain
from lightvm.model import State
from tests.unit.daemon.samples import exited_domain, live_domain

UUID = "6f1c2a5e0d0b4d0e9f5c2f4b8f3f9a01"


@pytest.fixture
def registry() -> Registry:
    return Registry(keep_exited=3, keep_exited_seconds=60.0)


@pytest.mark.parametrize("name", ["a", "A-1", "1a", "web.example_1", "x" * 63, "7seas", "0x10"])
def test_a_name_is_accepted(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "-a", ".a", "_a", "a b", "a/b", "a\n", "a\0", "é", "x" * 64, "../x", "a:b", "²"],
)
def test_a_name_of_other_letters_is_refused(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_name(name)
    assert caught.value.where == "request.name"


@pytest.mark.parametrize("name", ["7", "0", "007", "1" * 20, UUID, dashed(UUID), UUID.upper()])
def test_a_name_like_a_domid_or_a_uuid_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="neither"):
        check_name(name)


def test_a_domain_is_found_by_name_domid_and_uuid(registry: Registry) -> None:
    domain = live_domain("web", domid=7, uuid=UUID)
    registry.add(domain)
    for key in ("web", "7", UUID, dashed(UUID), dashed(UUID).upper()):
        assert registry.find(key) is domain


@pytest.mark.parametrize(
    "key", ["", "we", "Web", "8", "-7", " 7", "7 ", "²", "٧", "9" * 30, "7" * 8, UUID, "\0", "*"]
)
def test_what_is_not_there_is_not_found(registry: Registry, key: str) -> None:
    registry.add(live_domain("web", domid=7))
    with pytest.raises(NoSuchDomain) as caught:
        registry.find(key)
    assert caught.value.where == key


def test_a_uuid_with_its_dashes_elsewhere_is_none(registry: Registry) -> None:
    registry.add(live_domain("web", uuid=UUID))
    with pytest.raises(NoSuchDomain):
        registry.find(f"----{UUID}")


def test_a_domain_without_a_name_gets_one_of_its_own(registry: Registry) -> None:
    names = {registry.reserve(None) for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("vm-") for name in names)


def test_a_new_name_is_nobodys(registry: Registry) -> None:
    first = registry.reserve(None)
    following = f"vm-{(int(first[3:], 16) + 1) % (1 << 40):010x}"
    registry.reserve(following)
    assert registry.reserve(None) not in (first, following)


def test_a_reserved_name_is_taken_but_not_found(registry: Registry) -> None:
    registry.reserve("web")
    with pytest.raises(NameTaken) as caught:
        registry.reserve("web")
    assert caught.value.where == "web"
    with pytest.raises(NoSuchDomain):
        registry.find("web")


def test_a_name_that_was_given_back_is_free(registry: Registry) -> None:
    registry.reserve("web")
    registry.unreserve("web")
    registry.reserve("web")


def test_giving_a_name_back_does_not_take_it_from_its_domain(registry: Registry) -> None:
    registry.reserve("web")
    registry.add(live_domain("web"))
    registry.unreserve("web")
    with pytest.raises(NameTaken):
        registry.reserve("web")


def test_the_name_of_an_exited_domain_is_free(registry: Registry) -> None:
    domain = live_domain("web")
    registry.add(domain)
    registry.retire(domain)
    registry.reserve("web")


def test_a_live_domain_is_found_before_an_exited_one(registry: Registry) -> None:
    old, new = exited_domain("web", domid=7), live_domain("web", domid=8)
    registry.add(old)
    registry.retire(old)
    registry.add(new)
    assert registry.find("web") is new
    assert registry.find("7") is old


def test_of_two_exited_domains_the_later_is_found(registry: Registry) -> None:
    domains = [exited_domain("web", domid=7), exited_domain("web", domid=7)]
    for domain in domains:
        registry.retire(domain)
    assert registry.find("web") is domains[1]
    assert registry.find("7") is domains[1]
    assert registry.find(domains[0].record.uuid) is domains[0]


def test_a_domid_that_is_used_again_leads_to_the_new_domain(registry: Registry) -> None:
    old, new = live_domain("old", domid=7), live_domain("new", domid=7)
    registry.add(old)
    registry.add(new)
    registry.retire(old)
    assert registry.find("7") is new
    assert registry.find("old") is old


def test_a_forgotten_domain_is_not_found(registry: Registry) -> None:
    domains = [live_domain("web"), exited_domain("old")]
    registry.add(domains[0])
    registry.retire(domains[1])
    for domain in domains:
        registry.forget(domain)
        with pytest.raises(NoSuchDomain):
            registry.find(domain.record.name)
    assert len(registry) == 0
    assert not registry.exited


def retired(registry: Registry, *seconds_ago: float) -> list[LiveDomain]:
    """Enter domains that exited that long ago, and that Xen has let go of."""
    domains = [exited_domain(f"d{n}", seconds_ago=ago) for n, ago in enumerate(seconds_ago)]
    for domain in domains:
        domain.destroyed = True
        registry.retire(domain)
    return domains


def test_no_domain_within_the_bounds_is_overdue(registry: Registry) -> None:
    retired(registry, 3, 2, 1)
    assert list(registry.overdue()) == []


def test_a_domain_that_xen_still_has_is_not_overdue(registry: Registry) -> None:
    for domain in retired(registry, 5, 4, 3, 2, 1):
        domain.destroyed = False
    assert list(registry.overdue()) == []


def test_the_oldest_domains_over_the_number_are_overdue(registry: Registry) -> None:
    domains = retired(registry, 5, 4, 3, 2, 1)
    assert list(registry.overdue()) == domains[:2]


def test_domains_over_the_age_are_overdue(registry: Registry) -> None:
    domains = retired(registry, 100, 61, 1)
    assert list(registry.overdue()) == domains[:2]


def test_domains_that_exited_out_of_order_are_overdue_by_their_age(registry: Registry) -> None:
    domains = retired(registry, 1, 100)
    assert list(registry.overdue()) == [domains[1]]


def test_overdue_domains_can_be_forgotten_while_they_are_counted(registry: Registry) -> None:
    retired(registry, 5, 4, 3, 2, 1)
    for domain in registry.overdue():
        registry.forget(domain)
    assert len(registry.exited) == 3


def test_a_domain_says_its_state() -> None:
    domain = live_domain(uuid=UUID)
    states = [domain.state]
    domain.ready = 2.0
    states.append(domain.state)
    domain.paused = True
    states.append(domain.state)
    assert states == [State.RUNNING, State.READY, State.PAUSED]
    domain.exit = exited_domain().exit
    described = domain.describe()
    assert described.state is State.EXITED
    assert described.uuid == dashed(UUID)
    assert described.exit == domain.exit
    assert described.ready == 2.0


def test_what_a_domain_should_be_is_made_anew_only_when_it_is_paused_or_not() -> None:
    domain = live_domain("web", domid=7, uuid=UUID)
    running = domain.watched
    assert running.unpack() == (7, bytes.fromhex(UUID), False)
    assert domain.watched is running
    domain.paused = True
    assert domain.watched.unpack() == (7, bytes.fromhex(UUID), True)
    domain.paused = False
    assert domain.watched == running
