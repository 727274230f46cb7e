"""Services that are added while the daemon runs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
import trio

from lightvm import errors
from lightvm.client import Client
from lightvm.daemon.config import ServiceSection
from lightvm.daemon.net.filters import ServiceRange
from lightvm.model import NetRequest, ServiceRequest
from lightvm.testing import InMemory
from tests.unit.daemon.jit.changes import (
    ADDRESSES,
    BRIDGE,
    FIRST,
    IDLE,
    add,
    deliver,
    live,
    state,
    wait_live,
)
from tests.waits import settle


async def test_an_added_service_is_served_like_one_of_the_configuration(
    lvm: InMemory, client: Client
) -> None:
    await add(lvm, client, cmdline="quiet", metadata="for the guest", flavor="net")
    deliver(lvm, "10.77.0.65")
    deliver(lvm, "10.77.0.90")
    await wait_live(lvm, "web-10.77.0.65", "web-10.77.0.90")
    domain = lvm.service.registry.find("web-10.77.0.65")
    request = domain.record.request
    assert (request.cmdline, request.metadata) == ("quiet", b"for the guest")
    (_, status) = await client.services()
    assert (status.name, status.network, status.created, status.live) == ("web", "lan", 2, 2)
    await settle(IDLE + 3)
    assert not live(lvm)


async def test_what_is_left_out_has_the_default_of_the_configuration(
    lvm: InMemory, client: Client
) -> None:
    await client.add_service("web", image=lvm.noop, network="lan", addresses=["10.77.0.64"])
    record = lvm.service.journal.past.services["web"]
    assert record.section == ServiceSection(
        image=lvm.noop, network="lan", addresses=("10.77.0.64",)
    )


async def test_its_addresses_are_nobody_elses_from_then_on(lvm: InMemory, client: Client) -> None:
    ahead = lvm.service.devices.networks["lan"].ahead
    drawn = [lease.vif.ipv4 for lease in ahead.values()]
    assert drawn
    taken = [str(ipv4).partition("/")[0] for ipv4 in drawn]
    await add(lvm, client, addresses=tuple(taken))
    assert not ahead  # what was drawn ahead was recalled
    for _ in range(8):
        created = await client.create(lvm.noop, nets=[NetRequest(network="lan")])
        assert created.domain.vifs[0].ipv4 not in drawn
    with pytest.raises(errors.AddressTaken, match="service web"):
        await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4=taken[0])])


async def test_an_address_of_a_domain_that_has_gone_can_be_a_services(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.noop, name="old", nets=[NetRequest(network="lan", ipv4="10.77.0.90")])
    with pytest.raises(errors.AddressTaken, match=r"10\.77\.0\.90 is another domain's"):
        await add(lvm, client)
    await client.destroy("old")
    await add(lvm, client)


@pytest.mark.parametrize(
    ("changed", "error", "where"),
    [
        ({"name": "fixed"}, errors.NameTaken, "fixed"),
        ({"name": "off"}, errors.NameTaken, "off"),
        ({"name": "there"}, errors.NameTaken, "there"),
        ({"name": "no name"}, errors.BadRequest, "service.name"),
        ({"name": "x" * 41}, errors.BadRequest, "service.name"),
        ({"network": "wan"}, errors.NoSuchNetwork, "service.network"),
        ({"network": ""}, errors.NoSuchNetwork, "service.network"),
        ({"network": "bare"}, errors.BadRequest, "service.network"),
        ({"image": "noop"}, errors.BadRequest, "service.image"),
        ({"image": ""}, errors.BadRequest, "service.image"),
        ({"addresses": ()}, errors.BadRequest, "service.addresses"),
        ({"addresses": ("10.78.0.5",)}, errors.BadRequest, "service.addresses"),
        ({"addresses": ("some",)}, errors.BadRequest, "service.addresses"),
        ({"addresses": ("10.77.0.64",) * 201}, errors.BadRequest, "service.addresses"),
        ({"addresses": ("10.77.0.31",)}, errors.AddressTaken, "service.addresses"),
        ({"addresses": ("10.77.0.0/24",)}, errors.AddressTaken, "service.addresses"),
        ({"addresses": ("10.77.0.200",)}, errors.AddressTaken, "service.addresses"),
        ({"addresses": ("10.77.0.201",)}, errors.AddressTaken, "service.addresses"),
        ({"flavor": "none"}, errors.NoSuchFlavor, "service.flavor"),
        ({"flavor": "plain"}, errors.BadRequest, "service.flavor"),
        ({"cmdline": "x" * 4096}, errors.BadRequest, "service.cmdline"),
        ({"cmdline": "a\0b"}, errors.BadRequest, "service.cmdline"),
        ({"metadata": "ü" * 2049}, errors.BadRequest, "service.metadata"),
        ({"idle_seconds": 0.0}, errors.BadRequest, "service.idle_seconds"),
        ({"most": 0}, errors.BadRequest, "service.most"),
    ],
)
async def test_a_service_that_is_wrong_is_refused_and_changes_nothing(
    lvm: InMemory,
    client: Client,
    changed: dict[str, object],
    error: type[errors.LightVMError],
    where: str,
) -> None:
    await add(lvm, client, "there", addresses=("10.77.0.200",))
    await client.create(lvm.noop, name="d", nets=[NetRequest(network="lan", ipv4="10.77.0.201")])
    before = state(lvm)
    with pytest.raises(error) as caught:
        await add(lvm, client, **changed)
    assert caught.value.where == where
    assert state(lvm) == before
    await add(lvm, client)


def test_a_service_that_is_asked_for_has_the_keys_of_the_configuration() -> None:
    asked, configured = (
        {field.name for field in msgspec.structs.fields(struct)}
        for struct in (ServiceRequest, ServiceSection)
    )
    assert asked == configured | {"name"}


async def test_arp_requests_for_its_addresses_are_kept_from_other_guests(
    lvm: InMemory, client: Client
) -> None:
    def kept() -> list[tuple[str, int]]:
        return [(bridge, len(part)) for bridge, part in lvm.filters.services]

    await add(lvm, client)
    assert kept() == [(BRIDGE, 16), (BRIDGE, 16), (BRIDGE, 1)]
    await client.remove_service("web")
    assert kept() == [(BRIDGE, 16)]


@pytest.mark.parametrize("what", ["kernel", "listening", "journal"])
async def test_an_add_that_fails_leaves_nothing(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before = state(lvm)

    async def fail(ranges: object) -> None:
        raise errors.LinkFailed("injected", BRIDGE)

    def refuse(*_: object) -> None:
        raise (errors.JournalFailed if what == "journal" else errors.LinkFailed)("injected")

    with monkeypatch.context() as patch:
        if what == "kernel":
            patch.setattr(lvm.service.devices, "note_services", fail)
        elif what == "listening":
            patch.setattr(lvm.wires, "open_wire", refuse)
        else:
            patch.setattr(lvm.service.journal, "append", refuse)
        with pytest.raises(errors.HostError, match="injected"):
            await add(lvm, client)
    assert state(lvm) == before
    await add(lvm, client)
    deliver(lvm, FIRST)
    await wait_live(lvm, f"web-{FIRST}")


async def test_an_add_that_is_cancelled_midway_leaves_nothing(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(lvm)
    told = []

    async def hang(ranges: Sequence[ServiceRange]) -> None:
        told.append(sum(len(part) for _, part in ranges))
        if len(told) == 1:
            await trio.sleep_forever()

    monkeypatch.setattr(lvm.service.devices, "note_services", hang)
    section = ServiceSection(image=lvm.noop, network="lan", addresses=ADDRESSES)
    with trio.move_on_after(1) as scope:
        await lvm.service.services.add("web", section)
    assert scope.cancelled_caught
    assert told == [33, 16]
    assert state(lvm) == before
    await add(lvm, client)


async def test_adds_of_the_same_at_once_are_one(lvm: InMemory, client: Client) -> None:
    outcomes = []

    async def try_to_add(name: str) -> None:
        try:
            await add(lvm, client, name)
            outcomes.append("added")
        except errors.RequestError as exc:
            outcomes.append(exc.code)

    async with trio.open_nursery() as nursery:
        for name in ("one", "one", "two"):
            nursery.start_soon(try_to_add, name)
    assert sorted(outcomes) in (
        ["added", "address-taken", "name-taken"],
        ["added", "address-taken", "address-taken"],
    )
