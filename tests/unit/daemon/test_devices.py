"""Devices of a shell: all connected or, after a failure, none left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lightvm.daemon.config import Config, NetworkSection
from lightvm.daemon.devices import Devices, Dom0
from lightvm.daemon.disk.disks import close_disks, open_disks
from lightvm.daemon.disk.loops import FIRST_NUMBER, physical_device
from lightvm.errors import DiskFailed, LightVMError, LinkFailed, StoreFailed
from lightvm.model import DiskRequest
from lightvm.testing import MemoryFilters, MemoryLoops, MemoryPorts, MemoryStore, MemoryWires
from lightvm.xen.fake_domain import FakeHandle
from lightvm.xen.hypervisor import Shape

CONFIG = Config(networks={"lan": NetworkSection(bridge="br0"), "wan": NetworkSection(bridge="br1")})
BOTH = ("lan", "wan")
WRITES = 61
"""How many connecting two vifs and two vbds takes."""


class FussyStore(MemoryStore):
    """A store whose steps can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = WRITES * 10
        self.unremovable = ""

    def write(self, path: str, value: str) -> None:
        self.writes_left -= 1
        if self.writes_left < 0:
            raise OSError("no write")
        super().write(path, value)

    def remove(self, path: str) -> None:
        if self.unremovable and path.startswith(self.unremovable):
            raise OSError("no removal")
        super().remove(path)


class FussyLoops(MemoryLoops):
    """Loop devices of which one cannot be removed, and of which there are only so many."""

    stuck = -1
    most = 100

    def add(self) -> int:
        if len(self.bound) >= self.most:
            raise DiskFailed("no more")
        return super().add()

    def remove(self, number: int) -> None:
        if number == self.stuck:
            raise DiskFailed("still in use")
        super().remove(number)


@dataclass
class Host:
    """Devices, and where they are."""

    store: FussyStore = field(default_factory=FussyStore)

    def __post_init__(self) -> None:
        self.ports = MemoryPorts(self.store)
        self.loops = FussyLoops(self.store)
        dom0 = Dom0(self.store, self.ports, MemoryFilters(), self.loops, MemoryWires())
        self.devices = Devices(CONFIG, dom0)

    async def connect(
        self, domid: int = 7, uuid: str = "ours", networks: tuple[str, ...] = BOTH, disks: int = 2
    ) -> tuple[int, ...]:
        vifs = len(networks)
        handle = FakeHandle(
            domid,
            100,
            101,
            vif_ports=tuple(range(3, 3 + vifs)),
            vbd_ports=tuple(range(3 + vifs, 3 + vifs + disks)),
        )
        shape = Shape.of(4096, 1, vifs, disks)
        return await self.devices.connect(handle, uuid, shape, networks, ())

    def assert_empty(self) -> None:
        assert (self.store.nodes, self.ports.ports, self.loops.bound) == ({}, {}, {})


@pytest.fixture
def host(threadless: None) -> Host:
    return Host()


# Connecting


async def test_vifs_are_in_the_bridges_of_their_networks(host: Host) -> None:
    await host.connect()
    assert host.ports.ports == {"vif7.0": "br0", "vif7.1": "br1"}


async def test_each_vbd_has_a_loop_device_that_is_bound_to_nothing_yet(host: Host) -> None:
    loops = await host.connect()
    assert host.loops.bound == dict.fromkeys(loops)
    behind = [v for path, v in host.store.nodes.items() if path.endswith("/physical-device")]
    assert behind == [physical_device(number) for number in loops]


async def test_all_back_ends_are_connected(host: Host) -> None:
    await host.connect()
    states = [v for path, v in host.store.nodes.items() if path.endswith("/state")]
    assert states == ["4"] * 8


async def test_each_device_has_an_event_channel_of_its_own(host: Host) -> None:
    await host.connect()
    channels = [v for path, v in host.store.nodes.items() if path.endswith("/event-channel")]
    assert channels == ["3", "4", "5", "6"]


async def test_a_vif_is_in_its_bridge_before_it_is_connected(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[str] = []
    real = host.ports.add_port

    def add_port(name: str, bridge: str, mtu: int, **more: Any) -> None:
        states.append(host.store.nodes["/local/domain/0/backend/vif/7/0/state"])
        real(name, bridge, mtu, **more)

    monkeypatch.setattr(host.ports, "add_port", add_port)
    await host.connect()
    assert states == ["2", "2"]


async def test_a_shell_without_devices_needs_no_xenstore(host: Host) -> None:
    host.store.broken = host.loops.broken = host.ports.broken = True
    assert await host.connect(networks=(), disks=0) == ()


async def test_networks_and_disks_go_without_each_other(host: Host) -> None:
    assert await host.connect(7, networks=("lan",), disks=0) == ()
    assert len(await host.connect(8, "other", networks=(), disks=1)) == 1
    assert host.ports.ports == {"vif7.0": "br0"}


# Connecting fails


@pytest.mark.parametrize("writes", range(WRITES))
async def test_a_store_that_fails_at_any_write_leaves_nothing(host: Host, writes: int) -> None:
    host.store.writes_left = writes
    with pytest.raises(StoreFailed, match="no write"):
        await host.connect()
    await host.devices.disconnect(7, "ours")
    host.assert_empty()


async def test_all_writes_were_tried(host: Host) -> None:
    await host.connect()
    assert WRITES * 10 - host.store.writes_left == WRITES


async def test_a_bridge_that_fails_leaves_nothing(host: Host) -> None:
    host.ports.broken = True
    with pytest.raises(LinkFailed):
        await host.connect()
    await host.devices.disconnect(7, "ours")
    host.assert_empty()


async def test_a_host_with_too_few_loop_devices_keeps_none_of_them(host: Host) -> None:
    host.loops.most = 1
    with pytest.raises(DiskFailed):
        await host.connect()
    host.assert_empty()


async def test_a_failure_costs_others_no_loop_device(host: Host) -> None:
    loops = await host.connect(8, "other")
    host.store.writes_left = 5
    with pytest.raises(StoreFailed):
        await host.connect()
    assert host.loops.bound == dict.fromkeys(loops)


# Disks


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[DiskRequest]]:
    requests = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(512))
        requests.append(DiskRequest(path=str(tmp_path / name)))
    before = os.listdir("/proc/self/fd")
    yield requests
    assert os.listdir("/proc/self/fd") == before


async def test_each_disk_is_behind_the_vbd_of_its_place(
    host: Host, disks: list[DiskRequest]
) -> None:
    loops = await host.connect()
    opened = open_disks(disks)
    await host.devices.bind(loops, opened)
    close_disks(opened)
    assert host.loops.bound == {loops[0]: disks[0].path, loops[1]: disks[1].path}
    await host.devices.disconnect(7, "ours")
    host.assert_empty()


async def test_a_file_is_free_when_its_domain_is_disconnected(
    host: Host, disks: list[DiskRequest]
) -> None:
    loops = await host.connect()
    opened = open_disks(disks)
    await host.devices.bind(loops, opened)
    close_disks(opened)
    with pytest.raises(LightVMError, match="another domain"):
        open_disks(disks)
    await host.devices.disconnect(7, "ours")
    close_disks(open_disks(disks))


async def test_a_loop_device_that_cannot_be_bound_is_told(
    host: Host, disks: list[DiskRequest]
) -> None:
    loops = await host.connect()
    host.loops.broken = True
    opened = open_disks(disks)
    with pytest.raises(DiskFailed):
        await host.devices.bind(loops, opened)
    close_disks(opened)


# Disconnecting


async def test_nothing_is_left_of_what_is_disconnected(host: Host) -> None:
    await host.connect()
    await host.devices.disconnect(7, "ours")
    host.assert_empty()


async def test_disconnecting_again_does_nothing(host: Host) -> None:
    await host.connect()
    await host.devices.disconnect(7, "ours")
    other = await host.connect(7, "other")
    await host.devices.disconnect(7, "ours")
    assert host.loops.bound == dict.fromkeys(other)


async def test_a_disk_of_another_toolstack_is_not_taken_for_a_loop_device(host: Host) -> None:
    await host.connect(networks=(), disks=1)
    (path,) = (path for path in host.store.nodes if path.endswith("/physical-device"))
    host.store.nodes[path] = "8:1"
    await host.devices.disconnect(7, "ours")
    assert host.store.nodes == {}


async def test_a_loop_device_that_stays_in_use_does_not_keep_the_others(host: Host) -> None:
    host.loops.stuck, other = await host.connect()
    with pytest.raises(DiskFailed):
        await host.devices.disconnect(7, "ours")
    assert list(host.loops.bound) == [host.loops.stuck]
    assert other not in host.loops.bound


async def test_a_store_that_fails_half_way_does_not_keep_loop_devices_that_nothing_leads_to(
    host: Host,
) -> None:
    _, second = await host.connect()
    host.store.unremovable = "/local/domain/0/backend/vbd/7/51728"
    with pytest.raises(StoreFailed, match="no removal"):
        await host.devices.disconnect(7, "ours")
    assert list(host.loops.bound) == [second]
    host.store.unremovable = ""
    await host.devices.disconnect(7, "ours")
    host.assert_empty()


async def test_a_broken_store_is_told(host: Host) -> None:
    host.store.broken = True
    with pytest.raises(StoreFailed):
        await host.devices.disconnect(7, "ours")
    with pytest.raises(StoreFailed):
        await host.devices.find()


# Leftovers


async def test_devices_of_domains_that_are_gone_are_removed_and_those_of_others_stay(
    host: Host,
) -> None:
    await host.connect(7, "gone")
    loops = await host.connect(8, "there")
    found = await host.devices.find()
    await host.devices.remove_leftovers(found, {"there"})
    assert host.loops.bound == dict.fromkeys(loops)
    assert host.ports.ports.keys() == {"vif8.0", "vif8.1"}
    assert {found.uuid for found in await host.devices.find()} == {"there"}


async def test_a_leftover_that_cannot_be_removed_does_not_keep_the_others(host: Host) -> None:
    for domid in (6, 7, 8):
        await host.connect(domid, f"gone-{domid}")
    host.store.unremovable = "/local/domain/0/backend/vif/7/"
    await host.devices.remove_leftovers(await host.devices.find(), ())
    assert {found.domid for found in await host.devices.find()} == {7}


# The start


async def test_a_start_makes_bridges_and_removes_loop_devices_that_nobody_uses(
    host: Host,
) -> None:
    (used,) = await host.connect(disks=1)
    host.loops.add()
    await host.devices.start()
    assert host.ports.bridges.keys() == {"br0", "br1"}
    assert list(host.loops.bound) == [used]
    assert used > FIRST_NUMBER


@pytest.mark.parametrize(
    ("broken", "error"), [("ports", LinkFailed), ("loops", DiskFailed)], ids=["ports", "loops"]
)
async def test_a_start_that_fails_says_why(
    host: Host, broken: str, error: type[LightVMError]
) -> None:
    getattr(host, broken).broken = True
    with pytest.raises(error):
        await host.devices.start()
