"""Creating domains with networks and disks: all of it or nothing."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightvm import errors
from lightvm.client import Client
from lightvm.daemon.disk.loops import physical_device
from lightvm.daemon.journal import DomainRecord
from lightvm.model import DiskRequest, ExitReason, NetRequest, Source, Vbd, WaitFor
from lightvm.testing import InMemory, default_config
from lightvm.xen.device_page import VBD_CONFIG, VIF_CONFIG
from tests.cancel.device_leftovers import DISK
from tests.cancel.leftovers import assert_nothing_left
from tests.host import Host
from tests.unit.daemon.samples import serve_with_devices, with_devices
from tests.waits import settle

LAN = NetRequest(network="lan")
FIXED = NetRequest(network="lan", mac="0a:00:00:00:00:01", ipv4="10.0.0.6")
SIZE = 8192

SHAPES = pytest.mark.parametrize("memory", [None, 8192], ids=["pool", "cold"])


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory with a network, its pools full."""
    async with serve_with_devices(tmp_path) as served:
        yield served


@pytest.fixture
def disk(tmp_path: Path) -> DiskRequest:
    path = tmp_path / f"{DISK}a"
    path.write_bytes(bytes(SIZE))
    return DiskRequest(path=str(path))


# Creates


async def test_a_flavor_with_just_these_devices_is_taken_from_the_pool(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    for nets, disks, flavor in (
        ([LAN], [], "net"),
        ([], [disk], "disk"),
        ([LAN], [DiskRequest(path=disk.path, readonly=True)], "both"),
    ):
        created = await client.create(lvm.noop, nets=nets, disks=disks, wait=WaitFor.READY)
        assert (created.source, created.domain.flavor) == (Source.POOL, flavor)
        await client.destroy(created.domain.uuid)


async def test_devices_that_no_flavor_has_are_made_for_the_request(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, nets=[LAN, LAN])
    assert created.source is Source.COLD
    taken = {lease.vif.ipv4 for lease in lvm.service.devices.networks["lan"].ahead.values()}
    assert len({vif.ipv4 for vif in created.domain.vifs} - taken) == 2


async def test_a_flavor_s_networks_are_what_a_create_in_it_gets(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, flavor="net")
    assert [vif.network for vif in created.domain.vifs] == ["lan"]


@SHAPES
async def test_a_vif_is_in_its_bridge_and_connected(
    lvm: InMemory, client: Client, memory: int | None
) -> None:
    domid = (await client.create(lvm.noop, nets=[LAN], memory_kib=memory)).domain.domid
    assert lvm.ports.ports[f"vif{domid}.0"] == "br0"
    assert lvm.store.nodes[f"/local/domain/0/backend/vif/{domid}/0/state"] == "4"


@SHAPES
async def test_a_disk_is_behind_the_loop_device_of_its_vbd(
    lvm: InMemory, client: Client, disk: DiskRequest, memory: int | None
) -> None:
    domain = (await client.create(lvm.noop, disks=[disk], memory_kib=memory)).domain
    assert domain.vbds == (Vbd(path=disk.path, size_bytes=SIZE, readonly=False),)
    physical = lvm.store.nodes[f"/local/domain/0/backend/vbd/{domain.domid}/51712/physical-device"]
    bound = {physical_device(number): path for number, path in lvm.loops.bound.items()}
    assert bound[physical] == disk.path


@SHAPES
async def test_a_guest_is_told_of_its_devices(
    lvm: InMemory, client: Client, disk: DiskRequest, memory: int | None
) -> None:
    created = await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=memory)
    boot = lvm.hypervisor.domains[created.domain.domid].boot
    assert boot is not None
    mac, _, ipv4, *_ = VIF_CONFIG.unpack(boot.vifs)
    assert (mac.hex(":"), list(ipv4)) == (FIXED.mac, [10, 0, 0, 6])
    assert VBD_CONFIG.unpack(boot.vbds)[0] == SIZE // 512


async def test_a_file_that_a_domain_writes_is_no_other_domain_s(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    await client.create(lvm.noop, name="web", disks=[disk])
    with pytest.raises(errors.DiskInUse):
        await client.create(lvm.noop, disks=[DiskRequest(path=disk.path, readonly=True)])
    await client.destroy("web")
    await client.create(lvm.noop, disks=[disk])
    await assert_nothing_left(lvm)


async def test_a_file_that_nobody_writes_is_read_by_many(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    readonly = [DiskRequest(path=disk.path, readonly=True)]
    for _ in range(3):
        await client.create(lvm.noop, disks=readonly)
    await assert_nothing_left(lvm)


async def test_what_is_not_left_over_is_not_taken_for_that(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    await client.create(lvm.noop, nets=[LAN], disks=[disk])
    await client.create(lvm.noop, nets=[LAN, LAN])
    await assert_nothing_left(lvm)


# Refusals


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"nets": [NetRequest(network="none")]}, errors.NoSuchNetwork),
        ({"nets": [FIXED, FIXED]}, errors.AddressTaken),
        ({"nets": [LAN, NetRequest(network="lan", ipv4="10.0.0.1")]}, errors.AddressTaken),
        ({"nets": [LAN, NetRequest(network="lan", ipv4="192.0.2.1")]}, errors.AddressTaken),
        ({"nets": [LAN] * 6}, errors.OutOfAddresses),
        ({"nets": [LAN] * 9}, errors.BadRequest),
        ({"disks": [DiskRequest(path="/missing")] * 2}, errors.BadDisk),
        ({"disks": [DiskRequest(path="/missing")] * 9}, errors.BadRequest),
        ({"nets": [LAN], "image": "/missing"}, errors.BadImage),
        ({"nets": [LAN], "modules": ["/missing"]}, errors.BadImage),
    ],
    ids=[
        *("no network", "twice", "own", "outside", "exhausted", "too many networks"),
        *("bad disk", "too many disks", "no image", "no module"),
    ],
)
async def test_a_create_that_is_refused_leaves_nothing(
    lvm: InMemory,
    client: Client,
    disk: DiskRequest,
    change: dict[str, object],
    error: type[errors.LightVMError],
) -> None:
    request = {"image": lvm.noop, "disks": [disk], **change}
    with pytest.raises(error):
        await client.create(request.pop("image"), **request)
    await assert_nothing_left(lvm)
    await client.create(lvm.noop, nets=[FIXED], disks=[disk])


async def test_a_domain_without_memory_for_it_leaves_nothing(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    with pytest.raises(errors.OutOfMemory):
        await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=1 << 30)
    await assert_nothing_left(lvm)


# Failures


async def assert_undone(lvm: InMemory, client: Client, disk: DiskRequest) -> None:
    """Fail unless nothing is left of a create with devices, and the next one works."""
    await settle(10)
    assert await client.list(all=True) == ()
    await assert_nothing_left(lvm)
    await client.create(lvm.noop, nets=[FIXED], disks=[disk], wait=WaitFor.READY)
    await assert_nothing_left(lvm)


@SHAPES
@pytest.mark.parametrize("step", ["load", "unpause"])
async def test_a_hypervisor_that_fails_leaves_nothing(
    lvm: InMemory, client: Client, disk: DiskRequest, memory: int | None, step: str
) -> None:
    lvm.hypervisor.fail(step)
    with pytest.raises(errors.HypercallError):
        await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=memory)
    await assert_undone(lvm, client, disk)


async def test_a_shell_that_cannot_be_made_leaves_nothing(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    lvm.hypervisor.fail("prepare")
    with pytest.raises(errors.HypercallError):
        await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=8192)
    await assert_undone(lvm, client, disk)


@SHAPES
async def test_a_journal_that_fails_leaves_nothing(
    lvm: InMemory,
    client: Client,
    disk: DiskRequest,
    memory: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = lvm.service.journal.append

    def append(record: object) -> None:
        if isinstance(record, DomainRecord):
            raise errors.JournalFailed("full")
        real(record)

    with monkeypatch.context() as patch:
        patch.setattr(lvm.service.journal, "append", append)
        with pytest.raises(errors.JournalFailed):
            await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=memory)
    await assert_undone(lvm, client, disk)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("ports", errors.LinkFailed),
        ("loops", errors.DiskFailed),
        ("store", errors.StoreFailed),
    ],
)
async def test_a_host_that_fails_leaves_nothing_once_the_daemon_has_been_started_again(
    tmp_path: Path,
    threadless: None,
    disk: DiskRequest,
    what: str,
    error: type[errors.LightVMError],
) -> None:
    host = Host(tmp_path, with_devices(default_config(tmp_path)))
    async with host.daemon() as (lvm, client):
        getattr(host, what).broken = True
        with pytest.raises(error):
            await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=8192)
        getattr(host, what).broken = False
    async with host.daemon() as (lvm, client):
        await assert_undone(lvm, client, disk)


async def test_a_bridge_that_fails_leaves_nothing(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    lvm.ports.broken = True
    with pytest.raises(errors.LinkFailed):
        await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=8192)
    lvm.ports.broken = False
    await assert_undone(lvm, client, disk)


async def test_a_loop_device_that_cannot_be_bound_costs_a_shell_and_leaves_nothing(
    lvm: InMemory, client: Client, disk: DiskRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(*args: object, **named: object) -> None:
        raise errors.DiskFailed("no")

    with monkeypatch.context() as patch:
        patch.setattr(lvm.loops, "bind", bind)
        with pytest.raises(errors.DiskFailed):
            await client.create(lvm.noop, nets=[FIXED], disks=[disk])
    assert lvm.service.pools["both"].discarded == 1
    await assert_undone(lvm, client, disk)


async def test_a_back_end_that_does_not_connect_leaves_nothing(
    lvm: InMemory, client: Client, disk: DiskRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lightvm.daemon.backends.CONNECT_SECONDS", 0)
        patch.setattr(lvm.store, "_act_as_backend", lambda path, value: None)
        with pytest.raises(errors.TimedOut, match="back-end"):
            await client.create(lvm.noop, nets=[FIXED], disks=[disk], memory_kib=8192)
    await assert_undone(lvm, client, disk)


async def test_a_shell_that_is_lost_is_made_up_for_with_the_same_addresses_and_disks(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    lvm.hypervisor.fail("load", errors.HypercallError("gone", "load", errno=errno.ESRCH))
    created = await client.create(lvm.noop, nets=[FIXED], disks=[disk])
    assert created.source is Source.COLD
    assert created.domain.vifs[0].ipv4 == "10.0.0.6/29"
    await assert_nothing_left(lvm)


async def test_a_pool_whose_shells_cannot_be_connected_says_why_and_leaves_nothing(
    lvm: InMemory, client: Client
) -> None:
    lvm.ports.broken = True
    await client.create(lvm.noop, flavor="net")
    await settle()
    status = {pool.flavor: pool for pool in await client.pool_status()}
    assert (status["net"].last_error or "").startswith("link-failed")
    assert status["tiny"].last_error is None
    lvm.ports.broken = False
    await settle(10)
    await assert_nothing_left(lvm)


# The end


@pytest.mark.parametrize("how", ["destroy", "poweroff", "crash", "kill"])
async def test_nothing_is_left_of_a_domain_with_devices_however_it_ends(
    lvm: InMemory, client: Client, disk: DiskRequest, how: str
) -> None:
    domid = (await client.create(lvm.noop, name="web", nets=[LAN], disks=[disk])).domain.domid
    match how:
        case "destroy":
            await client.destroy("web")
        case "poweroff":
            lvm.hypervisor.end(domid, ExitReason.POWEROFF, 0)
        case "crash":
            lvm.hypervisor.crash(domid)
        case "kill":
            lvm.hypervisor.kill(domid)
    await assert_nothing_left(lvm)


async def test_addresses_and_files_are_free_as_soon_as_a_destroy_is_answered(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    for _ in range(3):
        created = await client.create(lvm.noop, nets=[FIXED], disks=[disk])
        await client.destroy(created.domain.uuid)
    await assert_nothing_left(lvm)


async def test_a_domain_that_cannot_be_destroyed_keeps_addresses_and_files(
    lvm: InMemory, client: Client, disk: DiskRequest
) -> None:
    await client.create(lvm.noop, name="web", nets=[FIXED], disks=[disk])
    await settle()
    for _ in range(2):  # `bury` tries too
        lvm.hypervisor.fail("destroy")
    with pytest.raises(errors.HypercallError):
        await client.destroy("web")
    with pytest.raises(errors.AddressTaken):
        await client.create(lvm.noop, nets=[FIXED])
    with pytest.raises(errors.DiskInUse):
        await client.create(lvm.noop, disks=[disk])
    await settle()
    lvm.hypervisor._failures.clear()
    await client.destroy("web")
    await client.create(lvm.noop, nets=[FIXED], disks=[disk])
    await assert_nothing_left(lvm)


async def test_devices_that_could_not_be_removed_are_removed_by_the_next_daemon(
    tmp_path: Path, threadless: None, disk: DiskRequest
) -> None:
    host = Host(tmp_path, with_devices(default_config(tmp_path)))
    async with host.daemon() as (lvm, client):
        await client.create(lvm.noop, name="web", nets=[FIXED], disks=[disk])
        host.store.broken = True
        await client.destroy("web")
        await settle()
        host.store.broken = False
    async with host.daemon() as (lvm, client):
        await assert_undone(lvm, client, disk)
