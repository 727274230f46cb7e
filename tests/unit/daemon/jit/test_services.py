"""Domains that are made when the first packet for them arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from lightvm.client import Client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection, ServiceSection
from lightvm.daemon.jit.frames import mac_of
from lightvm.daemon.jit.listener import MemoryWire
from lightvm.daemon.jit.service import HELD, MOST_FRAMES
from lightvm.daemon.net.filters import ServiceRange
from lightvm.errors import AddressTaken, OutOfMemory
from lightvm.model import NetRequest, ServiceStatus
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.unit.daemon.jit.samples import ACK, FIN, arp, ipv4, number, segment
from tests.waits import settle, until

IDLE = 10.0


def make_config(directory: Path, **changed: object) -> Config:
    """Return a configuration with a service at 10.77.0.16 to 10.77.0.31."""
    service = ServiceSection(
        image=str(directory / "noop"),
        network="lan",
        addresses=("10.77.0.16/28",),
        idle_seconds=IDLE,
        cmdline="quiet",
        metadata="for the guest",
    )
    return msgspec.structs.replace(
        default_config(directory),
        networks={"lan": NetworkSection(bridge="lvbr0", address="10.77.0.1/24")},
        flavors={"net": FlavorSection(low=2, high=4, networks=("lan",))},
        services={"web": msgspec.structs.replace(service, **changed)},
    )


@pytest.fixture
async def lvm(
    tmp_path: Path, threadless: None, autojump_clock: MockClock
) -> AsyncIterator[InMemory]:
    """A daemon with a service, its pool full."""
    async with serve_in_memory(tmp_path, config=make_config(tmp_path)) as served:
        await until(lambda: served.service.pools.count() == 4)
        yield served


def wire(lvm: InMemory) -> MemoryWire:
    return lvm.wires.wires[-1]


def status(lvm: InMemory) -> ServiceStatus:
    (only,) = lvm.service.services.describe()
    return only


async def wait_live(lvm: InMemory, count: int) -> None:
    await until(lambda: status(lvm).live == count == len(lvm.service.registry))


def sent(lvm: InMemory) -> list[tuple[str, bytes]]:
    return wire(lvm).sent


async def test_the_first_frame_makes_a_domain_and_reaches_it(lvm: InMemory, client: Client) -> None:
    assert status(lvm).live == 0
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    (domain,) = await client.list()
    assert (domain.name, domain.cmdline) == ("web-10.77.0.17", "quiet")
    assert [(vif.mac, vif.ipv4) for vif in domain.vifs] == [("02:4c:0a:4d:00:11", "10.77.0.17/24")]
    assert sent(lvm) == [(f"vif{domain.domid}.0", arp("10.77.0.17"))]


async def test_frames_that_come_meanwhile_follow_in_order_up_to_a_bound(lvm: InMemory) -> None:
    frames = [ipv4("10.77.0.17", bytes([number])) for number in range(MOST_FRAMES + 5)]
    go_on = lvm.hypervisor.hang("prepare")
    lvm.service.pools["net"].shells.clear()
    for frame in frames:
        wire(lvm).deliver(frame)
    await settle()
    assert not sent(lvm)
    go_on.set()
    await until(lambda: bool(sent(lvm)))
    assert [frame for _, frame in sent(lvm)] == frames[:MOST_FRAMES]
    assert status(lvm).requests == 1


async def test_who_asks_again_and_again_meanwhile_is_heard_once(lvm: InMemory) -> None:
    go_on = lvm.hypervisor.hang("prepare")
    lvm.service.pools["net"].shells.clear()
    for _ in range(3):
        for _ in range(MOST_FRAMES):
            wire(lvm).deliver(arp("10.77.0.17"))
        await settle(1)
    wire(lvm).deliver(ipv4("10.77.0.17"))
    await settle(1)
    go_on.set()
    await wait_live(lvm, 1)
    assert [frame for _, frame in sent(lvm)] == [arp("10.77.0.17"), ipv4("10.77.0.17")]


async def test_who_is_idle_stays_while_others_wait(lvm: InMemory) -> None:
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    go_on = lvm.hypervisor.hang("prepare")
    lvm.service.pools["net"].shells.clear()
    wire(lvm).deliver(arp("10.77.0.18"))
    await settle((HELD - 1) * IDLE)
    assert status(lvm).live == 1
    await settle(2 * IDLE)
    assert status(lvm).live == 0
    go_on.set()
    await wait_live(lvm, 1)


async def test_those_who_are_idle_go_a_few_at_a_time(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.daemon.jit.service.DESTROYED_AT_ONCE", 1)
    for target in ("10.77.0.17", "10.77.0.18"):
        wire(lvm).deliver(arp(target))
    await wait_live(lvm, 2)
    go_on = lvm.hypervisor.hang("destroy")
    await settle(2 * IDLE)
    assert status(lvm).live == 1
    go_on.set()
    await wait_live(lvm, 0)
    await until(lambda: status(lvm).destroyed == 2)


async def test_each_address_has_a_domain_of_its_own(lvm: InMemory) -> None:
    for target in ("10.77.0.17", "10.77.0.18"):
        wire(lvm).deliver(arp(target))
    await wait_live(lvm, 2)
    assert {domain.record.name for domain in lvm.service.registry.live.values()} == {
        "web-10.77.0.17",
        "web-10.77.0.18",
    }


async def test_what_the_bridge_delivers_is_not_sent_again(lvm: InMemory) -> None:
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    wire(lvm).deliver(ipv4("10.77.0.17"))
    await settle()
    assert len(sent(lvm)) == 1


async def test_a_running_domain_is_given_requests_that_the_filter_may_have_kept_from_it(
    lvm: InMemory,
) -> None:
    for _ in range(2):
        wire(lvm).deliver(arp("10.77.0.17"))
        await wait_live(lvm, 1)
        await settle()
    assert [frame for _, frame in sent(lvm)] == [arp("10.77.0.17")] * 2


async def test_requests_for_its_addresses_are_kept_from_other_guests(lvm: InMemory) -> None:
    first = number("10.77.0.16")
    assert lvm.filters.services == [ServiceRange("lvbr0", range(first, first + 16))]


async def test_a_device_that_somebody_removes_is_made_again(lvm: InMemory) -> None:
    former = wire(lvm)
    lvm.wires.broken = True
    former.vanish()
    await settle(5)
    assert former.closed
    lvm.wires.broken = False
    await until(lambda: wire(lvm) is not former)
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    assert sent(lvm)


async def test_who_is_idle_goes_and_comes_back_with_the_same_mac_address(
    lvm: InMemory, client: Client
) -> None:
    macs = []
    for round_ in (1, 2):
        wire(lvm).deliver(arp("10.77.0.17"))
        await wait_live(lvm, 1)
        macs += [vif.mac for domain in await client.list() for vif in domain.vifs]
        await settle(IDLE - 2)
        assert status(lvm).live == 1
        await wait_live(lvm, 0)
        assert status(lvm) == ServiceStatus(
            name="web",
            network="lan",
            requests=round_,
            created=round_,
            failed=0,
            destroyed=round_,
            live=0,
        )
    assert macs == [mac_of(number("10.77.0.17")).hex(":")] * 2


async def test_who_sends_stays(lvm: InMemory, client: Client) -> None:
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    (domain,) = await client.list()
    for packets in range(1, 5):
        await settle(IDLE - 2)
        lvm.ports.sent[f"vif{domain.domid}.0"] = packets
    assert status(lvm).live == 1
    await wait_live(lvm, 0)


async def test_who_is_paused_stays(lvm: InMemory, client: Client) -> None:
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    await client.pause("web-10.77.0.17")
    await settle(3 * IDLE)
    assert status(lvm).live == 1


async def test_a_frame_during_the_end_makes_another(lvm: InMemory) -> None:
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    go_on = lvm.hypervisor.hang("destroy")
    await until(lambda: status(lvm).live == 0)
    wire(lvm).deliver(ipv4("10.77.0.17"))
    await settle(1)
    go_on.set()
    await wait_live(lvm, 1)
    assert sent(lvm)[-1][1] == ipv4("10.77.0.17")
    assert status(lvm).requests == 2


async def test_the_end_of_an_old_connection_makes_no_domain(lvm: InMemory) -> None:
    wire(lvm).deliver(ipv4("10.77.0.17", segment(FIN)))
    await settle(1)
    wire(lvm).deliver(ipv4("10.77.0.17", segment(ACK)))
    await wait_live(lvm, 1)
    go_on = lvm.hypervisor.hang("destroy")
    await until(lambda: status(lvm).live == 0)
    wire(lvm).deliver(ipv4("10.77.0.17", segment(FIN)))
    await settle(1)
    go_on.set()
    await settle()
    assert status(lvm).requests == status(lvm).created == 1
    assert [frame for _, frame in sent(lvm)] == [ipv4("10.77.0.17", segment(ACK))]


@pytest.mark.parametrize("way", ["destroy", "crash", "stop"])
async def test_who_is_ended_by_somebody_else_is_made_anew(
    lvm: InMemory, client: Client, way: str
) -> None:
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    (domain,) = await client.list()
    if way == "destroy":
        await client.destroy(domain.name)
    elif way == "stop":
        await client.stop(domain.name)
    else:
        lvm.hypervisor.crash(domain.domid)
        await wait_live(lvm, 0)
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    (another,) = await client.list()
    assert another.uuid != domain.uuid
    assert another.vifs == domain.vifs


async def test_a_create_that_fails_is_no_storm(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def fail(*_: object, **__: object) -> None:
        tried.append(trio.current_time())
        raise OutOfMemory("injected")

    monkeypatch.setattr(lvm.service.creator, "create", fail)
    for _ in range(500):
        wire(lvm).deliver(arp("10.77.0.17"))
        await trio.sleep(0.01)
    assert 4 <= len(tried) <= 6
    assert status(lvm).failed == status(lvm).requests == len(tried)
    monkeypatch.undo()
    await settle(2)
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)


async def test_a_guest_that_is_never_ready_does_not_stay(
    tmp_path: Path, threadless: None, autojump_clock: MockClock
) -> None:
    config = make_config(tmp_path, image=str(tmp_path / "misbehave"), cmdline="silent")
    async with serve_in_memory(tmp_path, config=config) as lvm:
        wire(lvm).deliver(arp("10.77.0.17"))
        await until(lambda: status(lvm).failed == 1)
        assert not lvm.service.registry.live


async def test_there_is_a_bound(
    tmp_path: Path, threadless: None, autojump_clock: MockClock
) -> None:
    async with serve_in_memory(tmp_path, config=make_config(tmp_path, most=2)) as lvm:
        for last in range(16, 24):
            wire(lvm).deliver(arp(f"10.77.0.{last}"))
        await wait_live(lvm, 2)
        await settle(1)
        assert (status(lvm).created, status(lvm).failed) == (2, 6)


async def test_frames_for_others_are_not_looked_at(lvm: InMemory) -> None:
    for frame in (
        arp("10.77.0.15"),
        arp("10.77.0.1"),
        arp("10.78.0.17"),
        arp("10.77.0.17", sender=mac_of(number("10.77.0.17"))),
        ipv4("10.77.0.17", to=bytes.fromhex("0200000000bb")),
        arp("10.77.0.17")[:-1],
        ipv4("10.77.0.17")[:-1],
        b"",
    ):
        wire(lvm).deliver(frame)
    await settle()
    assert status(lvm).requests == 0


async def test_a_port_that_is_gone_costs_the_frames_only(lvm: InMemory) -> None:
    wire(lvm).broken = True
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    assert not sent(lvm)


async def test_its_addresses_are_nobody_elses(lvm: InMemory, client: Client) -> None:
    with pytest.raises(AddressTaken, match="service web"):
        await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4="10.77.0.17")])
    for _ in range(20):
        created = await client.create(lvm.noop, nets=[NetRequest(network="lan")])
        ipv4_ = IPv4Address((created.domain.vifs[0].ipv4 or "").partition("/")[0])
        assert not 16 <= int(ipv4_) & 0xFF < 32


async def test_a_restarted_domain_keeps_its_address(lvm: InMemory, client: Client) -> None:
    wire(lvm).deliver(arp("10.77.0.17"))
    await wait_live(lvm, 1)
    before = await client.info("web-10.77.0.17")
    assert (await client.restart("web-10.77.0.17")).domain.vifs == before.vifs


async def test_the_next_daemon_takes_over(
    tmp_path: Path, threadless: None, autojump_clock: MockClock
) -> None:
    config = make_config(tmp_path)
    async with serve_in_memory(tmp_path, config=config) as lvm:
        wire(lvm).deliver(arp("10.77.0.17"))
        await wait_live(lvm, 1)
    lvm.hypervisor.forget_handles()
    async with serve_in_memory(
        tmp_path, config=config, hypervisor=lvm.hypervisor, store=lvm.store, ports=lvm.ports
    ) as after:
        assert status(after).live == 1
        wire(after).deliver(arp("10.77.0.17"))
        await settle(1)
        assert status(after).requests == 0
        await wait_live(after, 0)
        assert status(after).destroyed == 1


async def test_callers_see_them(lvm: InMemory, client: Client) -> None:
    assert await client.services() == (status(lvm),)


async def test_a_stop_while_a_domain_is_made_leaves_nothing(
    tmp_path: Path, threadless: None, autojump_clock: MockClock
) -> None:
    async with serve_in_memory(tmp_path, config=make_config(tmp_path)) as lvm:
        await until(lambda: lvm.service.pools.count() == 4)
        lvm.service.pools["net"].shells.clear()
        domids = set(lvm.hypervisor.domains)
        go_on = lvm.hypervisor.hang("prepare")
        wire(lvm).deliver(arp("10.77.0.17"))
        await settle(1)
        lvm.service.stop.set()
        await settle(0.1)  # else what is made in the same moment stays, for the next daemon
        go_on.set()
    assert set(lvm.hypervisor.domains) <= domids
