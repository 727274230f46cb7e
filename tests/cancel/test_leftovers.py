"""The check that all tests here end with finds what it is there to find."""

from __future__ import annotations

import os

import pytest

from lightvm.client import Client
from lightvm.daemon.journal import ShellRecord
from lightvm.testing import InMemory
from lightvm.xen.hypervisor import Shape
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
