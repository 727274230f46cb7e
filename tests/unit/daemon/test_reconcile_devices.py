"""What a starting daemon makes of the devices that an earlier one left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightvm.daemon.disk.loops import FIRST_NUMBER
from lightvm.daemon.journal import DomainRecord, ShellRecord, read_journal
from lightvm.errors import AddressTaken, DiskInUse
from lightvm.model import DiskRequest, ExitReason, Mode, NetRequest
from lightvm.testing import default_config
from lightvm.xen.hypervisor import Shape
from tests.host import Host
from tests.unit.daemon.samples import with_devices
from tests.waits import settle

ADDRESS = "10.0.0.5"
NET = [NetRequest(network="lan", ipv4=ADDRESS)]


@pytest.fixture
def host(tmp_path: Path, threadless: None) -> Host:
    return Host(tmp_path, with_devices(default_config(tmp_path)))


@pytest.fixture
def disk(tmp_path: Path) -> list[DiskRequest]:
    (tmp_path / "disk").write_bytes(bytes(4096))
    return [DiskRequest(path=str(tmp_path / "disk"))]


async def test_a_domain_is_taken_over_with_its_devices(host: Host, disk: list[DiskRequest]) -> None:
    async with host.daemon() as (lvm, client):
        created = (await client.create(lvm.noop, name="web", nets=NET, disks=disk)).domain
    async with host.daemon() as (_, client):
        domain = await client.info("web")
        assert (domain.vifs, domain.vbds) == (created.vifs, created.vbds)
        assert host.ports.ports[f"vif{domain.domid}.0"] == "br0"
        assert disk[0].path in host.loops.bound.values()


async def test_a_domain_that_ran_without_its_network_gets_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host.daemon(kill=True) as (lvm, client):
        monkeypatch.setattr(lvm.service.creator._devices, "plug", forget_to_plug)
        created = await client.create(lvm.noop, name="web", nets=NET, mode=Mode.XENSTORE, cold=True)
        assert f"vif{created.domain.domid}.0" not in host.ports.ports
    async with host.daemon() as (_, client):
        domain = await client.info("web")
        assert host.ports.ports[f"vif{domain.domid}.0"] == "br0"
        assert host.store.nodes[f"/libxl/{domain.domid}/type"] == "pvh"


async def forget_to_plug(record: DomainRecord) -> None:
    """Do what a daemon does that is killed before."""


async def test_what_a_domain_that_is_taken_over_has_is_nobody_elses(
    host: Host, disk: list[DiskRequest]
) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web", nets=NET, disks=disk)
    async with host.daemon() as (lvm, client):
        with pytest.raises(AddressTaken):
            await client.create(lvm.noop, nets=NET)
        with pytest.raises(AddressTaken):
            mac = created.domain.vifs[0].mac
            await client.create(lvm.noop, nets=[NetRequest(network="lan", mac=mac)])
        with pytest.raises(DiskInUse):
            await client.create(lvm.noop, disks=disk)


async def test_a_domain_that_was_taken_over_leaves_nothing_when_it_is_destroyed(
    host: Host, disk: list[DiskRequest]
) -> None:
    async with host.daemon() as (lvm, client):
        await client.create(lvm.noop, name="web", nets=NET, disks=disk)
    async with host.daemon() as (lvm, client):
        await client.destroy("web")
        await client.destroy((await client.create(lvm.noop, nets=NET, disks=disk)).domain.uuid)
    assert not host.ports.ports
    assert not host.loops.bound
    assert not host.store.nodes


async def test_the_devices_of_shells_that_were_left_are_removed(host: Host) -> None:
    async with host.daemon(kill=True):
        assert len(host.ports.ports) == len(host.loops.bound) == 2
        left = host.hypervisor.domains.keys() - {0}
    async with host.daemon():
        domids = {int(path.split("/")[6]) for path in host.store.nodes if "/backend/" in path}
        assert not domids & left
        assert len(host.ports.ports) == len(host.loops.bound) == 2


async def test_the_devices_of_a_shell_that_is_not_in_xen_any_more_are_removed(host: Host) -> None:
    async with host.daemon(kill=True):
        pass
    host.hypervisor.domains.clear()
    async with host.daemon():
        pass
    assert not host.store.nodes
    assert not host.loops.bound


async def test_a_shell_s_own_directory_is_removed_where_it_has_no_back_end_yet(host: Host) -> None:
    uuid = os.urandom(16).hex()
    host.write_journal(ShellRecord(uuid=uuid, flavor="net"))
    host.store.nodes = {
        "/local/domain/7/lightvm-uuid": uuid,
        "/local/domain/7/device/vif/0/backend": "/local/domain/0/backend/vif/7/0",
    }
    async with host.daemon():
        pass
    assert not host.store.nodes


async def test_a_loop_device_that_no_back_end_has_is_removed(host: Host) -> None:
    host.loops.add()
    async with host.daemon():
        assert FIRST_NUMBER + 1 not in host.loops.bound


async def test_devices_of_another_toolstack_are_left_alone(host: Host) -> None:
    domid = host.hypervisor.foreign()
    theirs = {
        f"/local/domain/0/backend/vif/{domid}/0/state": "4",
        f"/local/domain/{domid}/device/vif/0/state": "4",
    }
    host.store.nodes = dict(theirs)
    async with host.daemon():
        pass
    assert host.store.nodes == theirs


async def test_devices_of_another_daemon_s_domain_are_left_alone(host: Host) -> None:
    uuid = os.urandom(16)
    domid = (await host.hypervisor.prepare(Shape.of(4096, 1), uuid)).domid
    theirs = {f"/local/domain/0/backend/vif/{domid}/0/lightvm-uuid": uuid.hex()}
    host.store.nodes = dict(theirs)
    host.hypervisor.forget_handles()
    async with host.daemon():
        pass
    assert host.store.nodes == theirs


async def test_shells_are_removed_by_a_daemon_that_has_no_xenstore(host: Host) -> None:
    async with host.daemon(kill=True):
        left = {domain.uuid.hex() for domain in host.hypervisor.domains.values()}
    host.store.broken = True
    async with host.daemon(filling=False):
        assert not left & {domain.uuid.hex() for domain in host.hypervisor.domains.values()}
        assert not left & read_journal(host.path).shells.keys()


async def test_what_could_not_be_removed_for_want_of_a_xenstore_is_removed_by_the_next_daemon(
    host: Host,
) -> None:
    async with host.daemon(kill=True):
        pass
    host.store.broken = True
    async with host.daemon(filling=False):
        pass
    host.store.broken = False
    assert host.store.nodes
    async with host.daemon():
        pass
    assert not host.store.nodes
    assert not host.loops.bound


async def test_a_domain_that_cannot_be_taken_over_keeps_its_addresses(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        await client.create(lvm.noop, name="web", nets=NET)
    host.hypervisor.fail("adopt")
    async with host.daemon() as (lvm, client):
        with pytest.raises(AddressTaken):
            await client.create(lvm.noop, nets=NET)


async def test_an_exited_domain_does_not_free_addresses_that_another_has_by_now(
    host: Host,
) -> None:
    async with host.daemon() as (lvm, client):
        job = (await client.create(lvm.hello, name="job", nets=NET)).domain
        await client.wait("job")
        await settle()
        again = NetRequest(network="lan", ipv4=ADDRESS, mac=job.vifs[0].mac)
        await client.create(lvm.noop, name="web", nets=[again])
    async with host.daemon() as (lvm, client):
        await settle()
        assert {domain.name for domain in await client.list(all=True)} == {"job", "web"}
        with pytest.raises(AddressTaken):
            await client.create(lvm.noop, nets=NET)
        with pytest.raises(AddressTaken):
            await client.create(lvm.noop, nets=[NetRequest(network="lan", mac=again.mac)])


async def test_a_domain_that_ended_meanwhile_has_its_devices_removed_and_its_addresses_freed(
    host: Host, disk: list[DiskRequest]
) -> None:
    async with host.daemon() as (lvm, client):
        domain = (await client.create(lvm.noop, name="web", nets=NET, disks=disk)).domain
    host.hypervisor.end(domain.domid, ExitReason.POWEROFF, 0)
    async with host.daemon() as (lvm, client):
        await settle()
        assert f"vif{domain.domid}.0" not in host.ports.ports
        assert disk[0].path not in host.loops.bound.values()
        await client.create(lvm.noop, nets=NET, disks=disk)


async def test_a_domain_that_somebody_destroyed_meanwhile_has_its_devices_removed(
    host: Host, disk: list[DiskRequest]
) -> None:
    async with host.daemon() as (lvm, client):
        domain = (await client.create(lvm.noop, name="web", nets=NET, disks=disk)).domain
    host.hypervisor.kill(domain.domid)
    async with host.daemon() as (lvm, client):
        await settle()
        assert f"vif{domain.domid}.0" not in host.ports.ports
        await client.create(lvm.noop, nets=NET, disks=disk)
