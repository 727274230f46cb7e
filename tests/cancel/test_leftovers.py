"""The check that all tests here end with finds what it is there to find."""

from __future__ import annotations

import os

import pytest

from lightvm.client import Client
from lightvm.daemon.journal import ShellRecord
from lightvm.daemon.net.filters import Port
from lightvm.model import NetRequest
from lightvm.testing import InMemory
from lightvm.xen.hypervisor import Shape
from tests.cancel.actions import OLD, Action, begin, guest_ends_with_devices
from tests.cancel.device_leftovers import DISK
from tests.cancel.leftovers import assert_nothing_left, leftovers
from tests.journals import written
from tests.waits import settle


async def test_nothing_is_left_of_nothing(lvm: InMemory) -> None:
    await assert_nothing_left(lvm)


async def test_running_and_exited_domains_are_not_left_over(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web", token="t")
    await client.create(lvm.hello, name="job")
    await client.create(lvm.noop, name="still", paused=True)
    await assert_nothing_left(lvm)


async def test_a_domain_that_nobody_owns_is_found(lvm: InMemory) -> None:
    await settle()
    await lvm.hypervisor.prepare(Shape.of(4096, 1), os.urandom(16))
    assert any("domains in Xen" in line for line in leftovers(lvm))


async def test_a_foreign_domain_is_left_alone(lvm: InMemory) -> None:
    domid = lvm.hypervisor.foreign()
    with pytest.raises(AssertionError, match="domains in Xen"):
        await assert_nothing_left(lvm)
    await assert_nothing_left(lvm, foreign=[domid])


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("name", "names in XenStore"),
        ("written", "names that may be written"),
        ("reserved", "reserved names"),
        ("route", "routes of events"),
        ("record", "shells in the journal"),
        ("file", "shells in the file"),
        ("channel", "channels"),
        ("pool", "pools that are not full"),
    ],
)
async def test_a_thing_that_nobody_owns_is_found(
    lvm: InMemory, client: Client, what: str, found: str
) -> None:
    await settle()
    match what:
        case "name":
            lvm.store.nodes["/local/domain/99/name"] = "x"
        case "written":
            lvm.service.names.written[99] = "x"
        case "reserved":
            lvm.service.registry.reserve("x")
        case "route":
            created = await client.create(lvm.noop, name="web")
            lvm.service.registry.forget(lvm.service.registry.find(created.domain.name))
        case "record":
            lvm.service.journal.append(ShellRecord(uuid="ab", flavor="tiny"))
        case "file":
            path = lvm.images / "state" / "journal"
            path.write_bytes(written(path) + b'{"op":"shell","uuid":"ab","flavor":"tiny"}\n')
        case "channel":
            lvm.hypervisor._masked[99] = False
        case "pool":
            lvm.service.pools["tiny"].shells.clear()
    assert any(line.startswith(found) for line in leftovers(lvm))


BACKEND = "/local/domain/0/backend"


@pytest.mark.parametrize("action", [guest_ends_with_devices], ids=["devices"])
@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("back-end", "back-ends in XenStore"),
        ("no back-end", "back-ends in XenStore"),
        ("directory", "directories of domains in XenStore"),
        ("state", "states of back-ends"),
        ("port", "ports"),
        ("bridge", "ports"),
        ("loop", "loop devices"),
        ("no loop", "loop devices"),
        ("filtered", "ports of nftables"),
        ("no source", "ports of nftables"),
        ("file", "open files of disks"),
        ("mac", "MAC addresses"),
        ("ipv4", "addresses of lan"),
        ("no ipv4", "addresses of lan"),
    ],
)
async def test_of_devices_a_thing_that_nobody_owns_or_that_is_missing_is_found(
    lvm: InMemory, client: Client, action: Action, what: str, found: str
) -> None:
    await begin(lvm, client, action)
    assert list(leftovers(lvm)) == []
    domid = lvm.service.registry.find(OLD).record.domid
    networks = lvm.service.creator._devices.networks
    file = (lvm.images / f"{DISK}old").open()
    match what:
        case "back-end":
            lvm.store.nodes[f"{BACKEND}/vif/99/0/state"] = "4"
        case "no back-end":
            lvm.store.remove(f"{BACKEND}/vif/{domid}")
        case "directory":
            lvm.store.nodes["/local/domain/99/lightvm-uuid"] = "x"
        case "state":
            lvm.store.nodes[f"{BACKEND}/vif/{domid}/0/state"] = "5"
        case "port":
            del lvm.ports._added[f"vif{domid}.0"]
        case "bridge":
            lvm.ports._added[f"vif{domid}.0"] = "br1"
        case "loop":
            lvm.loops.add()
        case "no loop":
            lvm.loops._bound.popitem()
        case "filtered":
            lvm.filters.add({"vif99.0": Port("br0", False, None)})
        case "no source":
            lvm.filters.bind({f"vif{domid}.0": None})
        case "mac":
            networks.assign([NetRequest(network="lan")])
        case "ipv4":
            networks["lan"].pool.take("lan")
        case "no ipv4":
            networks["lan"].pool.taken.clear()
    if what != "file":
        file.close()
    assert any(line.startswith(found) for line in leftovers(lvm))
    file.close()
