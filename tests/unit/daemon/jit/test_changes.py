"""Services that are added and removed while the daemon runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from lightvm import errors
from lightvm.client import Client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection, ServiceSection
from lightvm.daemon.jit.listener import MemoryWire
from lightvm.daemon.jit.services import MOST_AT_ONCE
from lightvm.daemon.journal import ServiceRecord, read_journal
from lightvm.daemon.net.filters import ServiceRange
from lightvm.model import NetRequest, ServiceRequest, State, Verdict
from lightvm.testing import InMemory, default_config
from tests.host import Host
from tests.unit.daemon.jit.samples import arp, number
from tests.waits import settle, until

IDLE = 10.0
BRIDGE = "lvbr0"
FIRST = "10.77.0.64"
ADDRESSES = ("10.77.0.64/28", "10.77.0.90")


def make_config(directory: Path) -> Config:
    """Return a configuration with a service at 10.77.0.16 to 10.77.0.31, and one that is off."""
    return msgspec.structs.replace(
        default_config(directory),
        networks={
            "lan": NetworkSection(bridge=BRIDGE, address="10.77.0.1/24"),
            "bare": NetworkSection(bridge="lvbr1"),
        },
        flavors={"net": FlavorSection(low=2, high=4, networks=("lan",)), "plain": FlavorSection()},
        services={
            "fixed": ServiceSection(
                image=str(directory / "noop"), network="lan", addresses=("10.77.0.16/28",)
            ),
            "off": ServiceSection(),
        },
    )


@pytest.fixture
def host(tmp_path: Path, threadless: None, autojump_clock: MockClock) -> Host:
    return Host(tmp_path, make_config(tmp_path))


@pytest.fixture
async def lvm(host: Host) -> AsyncIterator[InMemory]:
    """A daemon with a service of its configuration."""
    async with host.daemon() as (lvm, _):
        yield lvm


async def add(lvm: InMemory, client: Client, name: str = "web", **changed: object) -> None:
    """Add a service, by default at `ADDRESSES`."""
    service = ServiceRequest(
        name=name, image=lvm.noop, network="lan", addresses=ADDRESSES, idle_seconds=IDLE
    )
    await client.add_service(**msgspec.structs.asdict(msgspec.structs.replace(service, **changed)))


def wires(lvm: InMemory) -> dict[int, MemoryWire]:
    """Return what listens, by the first address."""
    return {wire.ranges[0].start: wire for wire in lvm.wires.wires if not wire.closed}


def deliver(lvm: InMemory, target: str) -> None:
    wires(lvm)[number(FIRST)].deliver(arp(target))


def names(lvm: InMemory) -> list[str]:
    return [service.name for service in lvm.service.services.describe()]


def live(lvm: InMemory) -> set[str]:
    return {domain.record.name for domain in lvm.service.registry.live.values()}


async def wait_live(lvm: InMemory, *wanted: str) -> None:
    await until(
        lambda: (
            live(lvm) == set(wanted)
            and all(domain.ready is not None for domain in lvm.service.registry.live.values())
        )
    )


def state(lvm: InMemory) -> object:
    """Return all that a service changes."""
    pool = lvm.service.devices.networks["lan"].pool
    assert pool is not None
    return (
        names(lvm),
        list(lvm.filters.services),
        dict(pool._kept),
        pool._size,
        set(wires(lvm)),
        dict(lvm.service.journal.past.services),
        live(lvm),
    )


async def make_more_than_are_destroyed_at_once(lvm: InMemory) -> None:
    targets = [f"10.77.0.{64 + number}" for number in range(MOST_AT_ONCE + 1)]
    for target in targets:
        deliver(lvm, target)
    await wait_live(lvm, *(f"web-{target}" for target in targets))


# Adding


async def test_an_added_service_is_served_like_one_of_the_configuration(
    lvm: InMemory, client: Client
) -> None:
    await add(lvm, client, cmdline="quiet", metadata="for the guest", flavor="net")
    deliver(lvm, "10.77.0.65")
    deliver(lvm, "10.77.0.90")
    await wait_live(lvm, "web-10.77.0.65", "web-10.77.0.90")
    domain = lvm.service.registry.find("web-10.77.0.65")
    assert (domain.record.cmdline, domain.record.metadata) == ("quiet", b"for the guest")
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
    drawn = [lease.vif.ipv4 for lease in ahead]
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


# Removing


async def test_a_removed_service_is_gone_with_its_domains_and_its_addresses_are_free(
    lvm: InMemory, client: Client
) -> None:
    before = state(lvm)
    for round_ in range(2):
        await add(lvm, client)
        deliver(lvm, FIRST)
        deliver(lvm, "10.77.0.90")
        await wait_live(lvm, f"web-{FIRST}", "web-10.77.0.90")
        await client.remove_service("web")
        assert state(lvm) == before, round_
    assert not [d for d in await client.list(all=True) if d.name.startswith("web")]
    await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4=FIRST)])
    await settle()
    assert {f.verdict for f in await client.doctor()} == {Verdict.OK}


@pytest.mark.parametrize("step", ["prepare", "ready"])
async def test_a_domain_that_is_being_made_goes_too(
    lvm: InMemory, client: Client, step: str
) -> None:
    before = state(lvm)
    forgotten = lvm.service.pools.uuids
    lvm.service.pools["net"].shells.clear()
    image = lvm.noop if step == "prepare" else lvm.misbehave
    await add(lvm, client, image=image, cmdline="loop")
    go_on = lvm.hypervisor.hang("prepare")
    deliver(lvm, FIRST)
    await settle(1)
    if step == "ready":
        go_on.set()
        await until(lambda: live(lvm) == {f"web-{FIRST}"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.remove_service, "web")
        await settle(1)
        go_on.set()
    await settle()
    assert state(lvm) == before
    shells = lvm.service.pools.uuids | forgotten
    assert {d.uuid.hex() for d in lvm.hypervisor.domains.values()} == shells


async def test_a_domain_that_is_being_destroyed_goes_too(lvm: InMemory, client: Client) -> None:
    before = state(lvm)
    await add(lvm, client)
    deliver(lvm, FIRST)
    await wait_live(lvm, f"web-{FIRST}")
    go_on = lvm.hypervisor.hang("destroy")
    await until(lambda: not live(lvm))
    deliver(lvm, FIRST)  # another is not made
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.remove_service, "web")
        await settle(1)
        go_on.set()
    await settle()
    assert state(lvm) == before
    assert not [d for d in await client.list(all=True) if d.name.startswith("web")]


async def test_a_domain_that_cannot_be_destroyed_is_doctors(lvm: InMemory, client: Client) -> None:
    await add(lvm, client)
    deliver(lvm, FIRST)
    await wait_live(lvm, f"web-{FIRST}")
    domid = lvm.service.registry.find(f"web-{FIRST}").record.domid
    for _ in range(2):  # the caller's attempt, and the one behind it
        lvm.hypervisor.fail("destroy")
    await client.remove_service("web")
    assert names(lvm) == ["fixed"]
    findings = await client.doctor()
    assert {f.what for f in findings if f.verdict is Verdict.LEAKED} == {f"domain {domid}"}
    with pytest.raises(errors.AddressTaken):
        await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4=FIRST)])


async def test_other_domains_are_left_alone(lvm: InMemory, client: Client) -> None:
    await add(lvm, client)
    await client.create(lvm.noop, name="web-other", token="service:web:10.77.0.64")
    wires(lvm)[number("10.77.0.16")].deliver(arp("10.77.0.16"))
    await wait_live(lvm, "web-other", "fixed-10.77.0.16")
    await client.remove_service("web")
    assert live(lvm) == {"web-other", "fixed-10.77.0.16"}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("web", errors.NoSuchService),
        ("", errors.NoSuchService),
        ("fixed", errors.NotRemovable),
        ("off", errors.NotRemovable),
    ],
)
async def test_what_was_not_added_cannot_be_removed(
    lvm: InMemory, client: Client, name: str, error: type[errors.LightVMError]
) -> None:
    before = state(lvm)
    with pytest.raises(error) as caught:
        await client.remove_service(name)
    assert caught.value.where == name
    assert state(lvm) == before


async def test_a_removal_that_cannot_be_written_down_changes_nothing(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(lvm, client)
    deliver(lvm, FIRST)
    await wait_live(lvm, f"web-{FIRST}")
    before = state(lvm)

    def refuse(record: object) -> None:
        raise errors.JournalFailed("injected")

    with monkeypatch.context() as patch:
        patch.setattr(lvm.service.journal, "append", refuse)
        with pytest.raises(errors.JournalFailed):
            await client.remove_service("web")
    assert state(lvm) == before
    deliver(lvm, "10.77.0.65")
    await wait_live(lvm, f"web-{FIRST}", "web-10.77.0.65")


async def test_a_removal_that_is_cancelled_can_be_asked_for_again(
    lvm: InMemory, client: Client
) -> None:
    before = state(lvm)
    await add(lvm, client)
    await make_more_than_are_destroyed_at_once(lvm)
    go_on = lvm.hypervisor.hang("destroy")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lvm.service.services.remove, "web")
        await settle(0.1)
        nursery.cancel_scope.cancel()
        go_on.set()
    await settle(IDLE + 3)  # nobody looks at what is stopped
    assert (names(lvm), len(live(lvm))) == (["fixed", "web"], 1)
    with pytest.raises(errors.NameTaken):
        await add(lvm, client)
    await client.remove_service("web")
    assert state(lvm) == before


# Restarts


@pytest.mark.parametrize("kill", [False, True])
async def test_the_next_daemon_has_it_again_with_its_domains(host: Host, kill: bool) -> None:
    async with host.daemon(kill=kill) as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
        uuid = (await client.info(f"web-{FIRST}")).uuid
        before = state(lvm)
    async with host.daemon() as (lvm, client):
        assert state(lvm) == before
        assert (await client.info(f"web-{FIRST}")).uuid == uuid
        deliver(lvm, "10.77.0.65")
        await wait_live(lvm, f"web-{FIRST}", "web-10.77.0.65")
        with pytest.raises(errors.AddressTaken, match="service web"):
            await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4="10.77.0.66")])
        await settle(IDLE + 3)
        assert not live(lvm)
        await client.remove_service("web")
    async with host.daemon() as (lvm, _):
        assert names(lvm) == ["fixed"]


async def test_the_next_daemon_finishes_a_removal(host: Host) -> None:
    async with host.daemon(kill=True) as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
        section = lvm.service.journal.past.services["web"].section
        lvm.service.journal.append(ServiceRecord(name="web", section=section, removing=True))
    async with host.daemon() as (lvm, client):
        await until(lambda: not lvm.service.journal.past.services)
        assert (names(lvm), live(lvm)) == (["fixed"], set())
        await add(lvm, client)
    assert not read_journal(host.path).services["web"].removing


async def test_a_stop_during_a_removal_leaves_the_rest_to_the_next_daemon(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        await add(lvm, client)
        await make_more_than_are_destroyed_at_once(lvm)
        go_on = lvm.hypervisor.hang("destroy")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail, client.remove_service, "web")
            await settle(0.1)
            lvm.service.stop.set()
            await settle(1)
            go_on.set()
    assert read_journal(host.path).services["web"].removing
    async with host.daemon() as (lvm, client):
        await until(lambda: not lvm.service.journal.past.services)
        assert (names(lvm), live(lvm)) == (["fixed"], set())


async def _fail(call: Callable[[str], object], name: str) -> None:
    with pytest.raises((errors.ConnectionLost, errors.StoppingNow)):
        await call(name)  # type: ignore[misc]


async def test_a_stop_during_an_add_leaves_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host.daemon() as (lvm, client):
        go_on = trio.Event()

        async def hang(ranges: object) -> None:
            await go_on.wait()

        monkeypatch.setattr(lvm.service.devices, "note_services", hang)

        async def fail() -> None:
            with pytest.raises(errors.StoppingNow):
                await add(lvm, client)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await settle(0.1)
            lvm.service.stop.set()
            await settle(0.1)
            go_on.set()
    assert not read_journal(host.path).services


def reconfigured(host: Host, **services: ServiceSection) -> None:
    """Give the next daemon another configuration."""
    assert host._config is not None
    host._config = msgspec.structs.replace(host._config, services=services)


async def test_a_service_that_the_configuration_has_by_now_is_the_configurations(
    host: Host,
) -> None:
    async with host.daemon() as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
        section = lvm.service.journal.past.services["web"].section
    reconfigured(host, web=section)
    async with host.daemon() as (lvm, client):
        assert [service.live for service in await client.services()] == [1]
        await until(lambda: not lvm.service.journal.past.services)
        with pytest.raises(errors.NotRemovable):
            await client.remove_service("web")


async def test_a_service_that_does_not_go_with_the_configuration_is_not_served_but_kept(
    host: Host,
) -> None:
    assert host._config is not None
    before = host._config.services
    async with host.daemon() as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
    other = msgspec.structs.replace(before["fixed"], addresses=("10.77.0.70",))
    reconfigured(host, other=other)
    async with host.daemon() as (lvm, client):
        assert (names(lvm), live(lvm)) == (["other"], {f"web-{FIRST}"})
        with pytest.raises(errors.NameTaken):
            await add(lvm, client, addresses=("10.77.0.200",))
    reconfigured(host, **before)
    async with host.daemon() as (lvm, client):
        assert [service.live for service in await client.services()] == [0, 1]
    reconfigured(host, other=other)
    async with host.daemon() as (lvm, client):
        await client.remove_service("web")
        assert (names(lvm), live(lvm)) == (["other"], set())


async def test_domains_that_a_service_of_that_name_has_left_are_taken_over(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        wires(lvm)[number("10.77.0.16")].deliver(arp("10.77.0.17"))
        await wait_live(lvm, "fixed-10.77.0.17")
    reconfigured(host)
    async with host.daemon() as (lvm, client):
        with pytest.raises(errors.AddressTaken):
            await add(lvm, client, "other", addresses=("10.77.0.16/28",))
        await add(lvm, client, "fixed", addresses=("10.77.0.16/28",))
        await settle(0.1)
        assert [service.live for service in await client.services()] == [1]
        assert (await client.info("fixed-10.77.0.17")).state is State.READY
