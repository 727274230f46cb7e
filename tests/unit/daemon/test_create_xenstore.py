"""Creates in XenStore mode: who gets it, what is told to whom, and that nothing is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from lightvm.client import Client, open_client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection
from lightvm.daemon.journal import DomainRecord
from lightvm.errors import BadRequest, LinkFailed, NotPossibleNow, TimedOut
from lightvm.model import (
    Created,
    CreateRequest,
    DiskRequest,
    ExitReason,
    Mode,
    NetRequest,
    Power,
    Source,
    WaitFor,
)
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.elf import Load, entry_note, make_elf
from tests.waits import settle, until

KIB = 65536
NET = (NetRequest(network="lan"),)
GIVEN = (NetRequest(network="lan", mac="02:00:00:00:00:99", ipv4="10.0.0.99"),)


def config_with_flavor(directory: Path) -> Config:
    """Return a configuration with shells of both modes, and a network."""
    flavor = FlavorSection(
        memory_kib=KIB, low=2, high=2, mode=Mode.XENSTORE, networks=("lan",), disks=0
    )
    return msgspec.structs.replace(
        default_config(directory),
        networks={"lan": NetworkSection(bridge="br0", address="10.0.0.1/24")},
        flavors={"tiny": FlavorSection(low=1, high=1), "linux": flavor},
    )


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    async with serve_in_memory(tmp_path, config=config_with_flavor(tmp_path)) as served:
        await until(lambda: not any(pool.filling for pool in served.service.pools))
        yield served


@pytest.fixture
def linux(tmp_path: Path) -> str:
    """Return a kernel that says nothing of a device page."""
    path = tmp_path / "linux"
    path.write_bytes(make_elf([Load(paddr=0x10000, data=b"\x90" * 64)], entry_note(0x10000)))
    return str(path)


async def test_the_image_says_which_mode(lvm: InMemory, client: Client, linux: str) -> None:
    assert (await client.create(lvm.noop)).domain.mode is Mode.NOXS
    assert (await client.create(linux)).domain.mode is Mode.XENSTORE


async def test_who_asks_for_a_mode_gets_it(lvm: InMemory, client: Client, linux: str) -> None:
    assert (await client.create(lvm.noop, mode=Mode.XENSTORE)).domain.mode is Mode.XENSTORE
    assert (await client.create(linux, mode=Mode.NOXS)).domain.mode is Mode.NOXS


async def test_a_shell_of_its_mode_is_taken(lvm: InMemory, client: Client, linux: str) -> None:
    created = await client.create(linux, nets=NET)
    assert (created.source, created.domain.flavor) == (Source.POOL, "linux")
    assert (await client.create(lvm.noop, nets=NET)).source is Source.COLD


async def test_who_wants_no_shell_gets_none(lvm: InMemory, client: Client, linux: str) -> None:
    created = await client.create(linux, nets=NET, cold=True)
    assert created.source is Source.COLD
    assert created.domain.flavor == "linux"
    assert lvm.service.pools["linux"].misses == 0


async def test_a_flavor_of_another_mode_is_refused(
    lvm: InMemory, client: Client, linux: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        await client.create(linux, flavor="tiny", mode=Mode.XENSTORE)
    assert caught.value.where == "request.mode"


async def test_a_guest_without_a_shell_runs_before_its_vif_is_in_a_bridge(
    lvm: InMemory, client: Client, linux: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[bool] = []
    real = lvm.ports.add_port

    def add_port(name: str, bridge: str, mtu: int, **more: Any) -> None:
        domid = int(name.removeprefix("vif").partition(".")[0])
        running.append(not lvm.hypervisor.domains[domid].paused)
        real(name, bridge, mtu, **more)

    monkeypatch.setattr(lvm.ports, "add_port", add_port)
    created = await client.create(linux, nets=NET, cold=True)
    assert running == [True]
    vif = f"vif{created.domain.domid}.0"
    assert lvm.ports.ports[vif] == "br0"
    assert vif in lvm.filters.ports


async def test_a_guest_whose_vif_gets_into_no_bridge_is_destroyed(
    lvm: InMemory, client: Client, linux: str
) -> None:
    nodes, domains = set(lvm.store.nodes), set(lvm.hypervisor.domains)
    lvm.ports.broken = True
    with pytest.raises(LinkFailed, match="injected"):
        await client.create(linux, nets=GIVEN, name="web", cold=True)
    lvm.ports.broken = False
    assert await client.list() == ()
    await until(lambda: (set(lvm.store.nodes), set(lvm.hypervisor.domains)) == (nodes, domains))
    created = await client.create(linux, nets=GIVEN, name="web", cold=True)
    assert created.domain.vifs[0].ipv4 == "10.0.0.99/24"


async def test_a_guest_that_ends_before_its_network_is_there_was_created(
    lvm: InMemory, client: Client, linux: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(name: str, bridge: str, mtu: int, **more: Any) -> None:
        domid = int(name.removeprefix("vif").partition(".")[0])
        lvm.hypervisor.domains[domid].shutdown_code = 0
        raise LinkFailed("no such network device", name)

    monkeypatch.setattr(lvm.ports, "add_port", end)
    await client.create(linux, nets=NET, name="web", cold=True)
    await client.wait("web", until=WaitFor.EXITED)


@pytest.fixture
def plugging(lvm: InMemory, monkeypatch: pytest.MonkeyPatch) -> tuple[trio.Event, trio.Event]:
    """Return what is set when a vif is about to be put into its bridge, and what lets that go on."""
    begun, go_on = trio.Event(), trio.Event()
    real = lvm.service.creator._devices.plug

    async def plug(record: DomainRecord) -> None:
        begun.set()
        await go_on.wait()
        await real(record)

    monkeypatch.setattr(lvm.service.creator._devices, "plug", plug)
    return begun, go_on


async def test_a_create_that_is_cancelled_meanwhile_leaves_a_guest_with_its_network(
    lvm: InMemory, linux: str, plugging: tuple[trio.Event, trio.Event]
) -> None:
    begun, go_on = plugging
    async with trio.open_nursery() as nursery:
        request = CreateRequest(image=linux, nets=NET, cold=True)
        nursery.start_soon(lvm.service.creator.create, request)
        await begun.wait()
        nursery.cancel_scope.cancel()
    go_on.set()
    (domain,) = lvm.service.registry.live.values()
    await until(lambda: lvm.ports.ports.get(f"vif{domain.record.domid}.0") == "br0")
    assert not lvm.service.creator._plugger._under_way


@pytest.mark.parametrize("fails", [False, True])
async def test_who_asks_again_meanwhile_waits_too(
    lvm: InMemory,
    client: Client,
    linux: str,
    plugging: tuple[trio.Event, trio.Event],
    fails: bool,
) -> None:
    begun, go_on = plugging
    made: list[Created] = []

    async def create(caller: Client) -> None:
        with suppress(LinkFailed):
            made.append(await caller.create(linux, nets=NET, cold=True, token="once"))

    async with open_client(lvm.socket) as other, trio.open_nursery() as nursery:
        nursery.start_soon(create, client)
        await begun.wait()
        nursery.start_soon(create, other)
        await settle()
        assert made == []
        lvm.ports.broken = fails
        go_on.set()
    if fails:  # both have tried, and nothing is left
        assert made == []
        assert await client.list() == ()
    else:
        assert len({each.domain.uuid for each in made}) == 1
        assert {each.source for each in made} == {Source.COLD, Source.EXISTING}


async def test_an_address_that_its_shell_has_needs_no_word_to_xenstored(
    lvm: InMemory, client: Client, linux: str
) -> None:
    lvm.store.broken = True
    created = await client.create(linux, nets=NET)
    (vif,) = created.domain.vifs
    assert lvm.store.nodes[f"/local/domain/{created.domain.domid}/device/vif/0/mac"] == vif.mac
    lvm.store.broken = False


async def test_another_address_is_told_before_the_guest_runs(
    lvm: InMemory, client: Client, linux: str
) -> None:
    created = await client.create(linux, nets=GIVEN, paused=True)
    home = f"/local/domain/{created.domain.domid}"
    assert lvm.store.nodes[f"{home}/device/vif/0/mac"] == "02:00:00:00:00:99"


async def test_an_address_that_cannot_be_told_fails_the_create(
    lvm: InMemory, client: Client, linux: str
) -> None:
    lvm.store.broken = True
    with pytest.raises(Exception, match="injected"):
        await client.create(linux, nets=GIVEN, name="a")
    lvm.store.broken = False
    await client.create(linux, name="a")


async def test_its_name_is_told_in_both_places(lvm: InMemory, client: Client, linux: str) -> None:
    domain = (await client.create(linux, name="web", nets=NET)).domain
    named = {f"/local/domain/{domain.domid}/name", f"/vm/{domain.uuid}/name"}
    await until(lambda: {p for p, v in lvm.store.nodes.items() if v == "web"} == named)


async def test_nothing_is_left_of_a_destroyed_one(
    lvm: InMemory, client: Client, linux: str
) -> None:
    before = set(lvm.store.nodes)
    created = await client.create(linux, nets=NET, cold=True)
    await until(lambda: f"/vm/{created.domain.uuid}/name" in lvm.store.nodes)
    await client.destroy(created.domain.name)
    await until(lambda: set(lvm.store.nodes) == before)
    assert created.domain.domid not in lvm.store.introduced


async def test_readiness_of_one_that_cannot_say_so_is_not_waited_for(
    lvm: InMemory, client: Client, linux: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        await client.create(linux, wait=WaitFor.READY)
    assert caught.value.where == "request.wait"


async def test_a_guest_of_ours_is_ready_in_this_mode_too(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, mode=Mode.XENSTORE, wait=WaitFor.READY)
    assert created.domain.ready is not None


async def test_it_is_stopped_through_xenstore(lvm: InMemory, client: Client, linux: str) -> None:
    domain = (await client.create(linux, name="web")).domain
    node = f"/local/domain/{domain.domid}/control/shutdown"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.stop, "web")
        await until(lambda: lvm.store.nodes[node] == "poweroff")
        lvm.hypervisor.domains[domain.domid].shutdown_code = 0
    ended = await client.info("web")
    assert ended.exit is not None
    assert ended.exit.reason is ExitReason.POWEROFF


async def test_one_that_does_not_stop_is_a_time_out_that_says_whether_it_has_heard(
    lvm: InMemory, client: Client, linux: str, autojump_clock: MockClock
) -> None:
    domain = (await client.create(linux, name="web")).domain
    with pytest.raises(TimedOut, match="does not hear"):
        await client.stop("web", timeout_ms=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(empty_soon, lvm, f"/local/domain/{domain.domid}/control/shutdown")
        with pytest.raises(TimedOut, match="has heard"):
            await client.stop("web", timeout_ms=1000)


async def empty_soon(lvm: InMemory, node: str) -> None:
    """Do what a guest does that has heard."""
    await trio.sleep(0.5)
    lvm.store.nodes[node] = ""


async def test_one_that_says_what_it_can_is_not_asked_for_more(
    lvm: InMemory, client: Client, linux: str
) -> None:
    domain = (await client.create(linux, name="web")).domain
    lvm.store.nodes[f"/local/domain/{domain.domid}/control/feature-reboot"] = "1"
    with pytest.raises(NotPossibleNow, match="it understands reboot"):
        await client.stop("web", power=Power.POWEROFF)
    await settle()
    assert (await client.info("web")).exit is None


async def test_a_restarted_one_has_the_same_mode(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web", mode=Mode.XENSTORE)
    assert (await client.restart("web")).domain.mode is Mode.XENSTORE


async def test_a_repeated_create_needs_no_image_any_more(
    lvm: InMemory, client: Client, linux: str
) -> None:
    first = await client.create(linux, token="once")
    Path(linux).unlink()
    again = await client.create(linux, token="once")
    assert (again.source, again.domain.uuid) == (Source.EXISTING, first.domain.uuid)


async def test_a_disk_that_is_read_takes_no_shell_and_its_guest_is_told(
    tmp_path: Path, threadless: None, linux: str
) -> None:
    config = msgspec.structs.replace(
        default_config(tmp_path),
        flavors={"disk": FlavorSection(memory_kib=KIB, low=2, high=2, mode=Mode.XENSTORE, disks=1)},
    )
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4096))
    async with serve_in_memory(tmp_path, config=config) as lvm:
        await until(lambda: not any(pool.filling for pool in lvm.service.pools))
        for readonly, source, mode in ((False, Source.POOL, "w"), (True, Source.COLD, "r")):
            disk = DiskRequest(path=str(image), readonly=readonly)
            async with open_client(lvm.socket) as client:
                created = await client.create(linux, flavor="disk", disks=[disk])
                assert created.source is source
                back = f"/local/domain/0/backend/vbd/{created.domain.domid}/51712"
                assert lvm.store.nodes[f"{back}/mode"] == mode
                assert lvm.store.nodes[f"{back}/discard-enable"] == str(int(not readonly))
                await client.destroy(created.domain.uuid)


async def test_a_domain_that_has_gone_meanwhile_gets_no_nodes_any_more(
    lvm: InMemory, client: Client, linux: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(lvm.store.nodes)
    real = lvm.ports.add_port

    def destroy(name: str, bridge: str, mtu: int, **more: Any) -> None:
        real(name, bridge, mtu, **more)
        domid = int(name.removeprefix("vif").partition(".")[0])
        lvm.hypervisor.domains[domid].shutdown_code = 0
        for path in (f"/local/domain/{domid}", f"/local/domain/0/backend/vif/{domid}"):
            lvm.store.remove(path)  # as `xl destroy` does

    monkeypatch.setattr(lvm.ports, "add_port", destroy)
    created = await client.create(linux, nets=NET, name="web", cold=True)
    left = {path.split("/")[1] for path in set(lvm.store.nodes) - before}
    assert "libxl" not in left, created


async def test_a_guest_may_connect_before_it_is_plugged(
    lvm: InMemory, client: Client, linux: str, plugging: tuple[trio.Event, trio.Event]
) -> None:
    begun, go_on = plugging
    async with trio.open_nursery() as nursery:
        nursery.start_soon(create_cold, client, linux)
        await begun.wait()
        (domain,) = lvm.service.registry.live.values()
        back = f"/local/domain/0/backend/vif/{domain.record.domid}/0/state"
        lvm.store.nodes[back] = "4"
        go_on.set()
    assert lvm.ports.ports[f"vif{domain.record.domid}.0"] == "br0"


async def create_cold(client: Client, linux: str) -> None:
    await client.create(linux, nets=NET, cold=True)
