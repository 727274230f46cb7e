"""Doctor on devices: whose they are, and which are nobody's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest
import trio

from lightvm.client import Client
from lightvm.daemon.backends import BACKENDS, OWNER, Found
from lightvm.daemon.doctor import LOOK_SECONDS
from lightvm.model import DiskRequest, Finding, NetRequest, Verdict
from lightvm.testing import InMemory, default_config
from lightvm.xen.hypervisor import Shape
from tests.host import Host
from tests.unit.daemon.samples import serve_with_devices, with_devices
from tests.waits import settle

LAN = [NetRequest(network="lan")]
GONE = "ab" * 16


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory with a network, its pools full."""
    async with serve_with_devices(tmp_path) as served:
        yield served


@pytest.fixture
def disks(tmp_path: Path) -> list[DiskRequest]:
    (tmp_path / "disk").write_bytes(bytes(512))
    return [DiskRequest(path=str(tmp_path / "disk"))]


def of_devices(findings: tuple[Finding, ...]) -> list[tuple[str, str, str, str]]:
    """Return the findings about devices."""
    return [(f.kind, f.verdict, f.what, f.detail) for f in findings if f.kind in ("vif", "vbd")]


def bad(findings: tuple[Finding, ...]) -> list[tuple[str, str, str, str]]:
    """Return the findings that are not ok."""
    return [(f.kind, f.verdict, f.what, f.detail) for f in findings if f.verdict != "ok"]


async def test_devices_of_domains_and_of_shells_are_told_with_their_owner(
    lvm: InMemory, client: Client, disks: list[DiskRequest]
) -> None:
    domid = (await client.create(lvm.noop, name="web", nets=LAN, disks=disks)).domain.domid
    await settle()
    findings = await client.doctor()
    assert bad(findings) == []
    told = of_devices(findings)
    assert ("vif", "ok", f"domain {domid}", "web (ready)") in told
    assert ("vbd", "ok", f"domain {domid}", "web (ready)") in told
    shells = [detail for _, _, what, detail in told if what != f"domain {domid}"]
    assert len(shells) == 4  # a vif, a disk, and both
    assert all(detail.startswith("shell ") for detail in shells)


async def test_devices_of_a_domain_that_has_just_ended_are_no_leak(
    lvm: InMemory, client: Client
) -> None:
    domid = (await client.create(lvm.noop, name="web", nets=LAN)).domain.domid
    go_on = lvm.hypervisor.hang("destroy")
    lvm.hypervisor.crash(domid)
    await client.wait("web")
    findings = await client.doctor()
    assert ("vif", "ok", f"domain {domid}", "web has exited") in of_devices(findings)
    assert bad(findings) == []
    go_on.set()


async def test_devices_of_a_shell_in_work_are_no_leak(lvm: InMemory, client: Client) -> None:
    go_on = lvm.hypervisor.hang("release")
    creator, shell = lvm.service.creator, lvm.service.pools["net"].shells.pop()
    creator._background.start_soon(creator._discard, shell)
    await settle()
    findings = await client.doctor()
    assert bad(findings) == []
    (detail,) = {
        detail
        for _, _, what, detail in of_devices(findings)
        if what == f"domain {shell.handle.domid}"
    }
    assert detail.endswith("in work")
    go_on.set()


@pytest.mark.parametrize("kind", ["vif", "vbd"])
async def test_a_device_whose_domain_is_gone_is_a_leak(
    lvm: InMemory, client: Client, kind: str
) -> None:
    lvm.store.nodes[f"{BACKENDS}/{kind}/99/0/{OWNER}"] = GONE
    lvm.store.nodes[f"/local/domain/99/{OWNER}"] = GONE
    assert bad(await client.doctor()) == [(kind, "leaked", "domain 99", "its domain is gone")]


async def test_a_directory_whose_domain_is_gone_is_a_leak(lvm: InMemory, client: Client) -> None:
    lvm.store.nodes[f"/local/domain/99/{OWNER}"] = GONE
    assert bad(await client.doctor()) == [
        ("xenstore", "leaked", "/local/domain/99", "its domain is gone")
    ]


async def test_a_device_that_is_gone_at_a_second_look_is_no_leak(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lvm.store.nodes[f"{BACKENDS}/vif/99/0/{OWNER}"] = GONE
    real, looks = lvm.service.devices.find, []

    async def find() -> Collection[Found]:
        found = await real()
        looks.append(found)
        lvm.store.remove(f"{BACKENDS}/vif/99")
        return found

    monkeypatch.setattr(lvm.service.devices, "find", find)
    assert bad(await client.doctor()) == []
    assert len(looks) == 2


async def test_a_host_that_is_well_is_looked_at_once(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = lvm.service.devices.find, []

    async def find() -> Collection[Found]:
        looks.append(1)
        return await real()

    monkeypatch.setattr(lvm.service.devices, "find", find)
    await client.create(lvm.noop, nets=LAN)
    await client.doctor()
    assert len(looks) == 1


async def test_devices_that_could_not_be_removed_are_a_leak_until_they_are(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    domid = (await client.create(lvm.noop, name="web", nets=LAN)).domain.domid
    await settle()

    def refuse(path: str) -> None:
        raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr(lvm.store, "remove", refuse)
        lvm.hypervisor.crash(domid)
        await client.wait("web")
        await settle()
        leaked = ("vif", "leaked", f"domain {domid}", "its domain is gone")
        assert leaked in bad(await client.doctor())
    await client.destroy("web")
    await settle()
    assert bad(await client.doctor()) == []


async def test_devices_of_another_daemon_s_domain_are_foreign(
    lvm: InMemory, client: Client
) -> None:
    uuid = os.urandom(16)
    handle = await lvm.hypervisor.prepare(Shape.of(4096, 1), uuid)
    lvm.store.nodes[f"{BACKENDS}/vif/{handle.domid}/0/{OWNER}"] = uuid.hex()
    findings = await client.doctor()
    assert {f.verdict for f in findings if f.what == f"domain {handle.domid}"} == {"foreign"}
    assert [f.verdict for f in findings if f.verdict in ("leaked", "missing")] == []


async def test_devices_of_another_toolstack_are_not_told(lvm: InMemory, client: Client) -> None:
    before = await client.doctor()
    lvm.store.nodes[f"{BACKENDS}/vif/99/0/state"] = "4"
    assert of_devices(await client.doctor()) == of_devices(before)


async def test_devices_of_a_domain_that_could_not_be_taken_over_are_a_leak_as_it_is(
    tmp_path: Path, threadless: None
) -> None:
    host = Host(tmp_path, with_devices(default_config(tmp_path)))
    async with host.daemon() as (lvm, client):
        domid = (await client.create(lvm.noop, name="web", nets=LAN)).domain.domid
    host.hypervisor.fail("adopt")
    async with host.daemon() as (_, client):
        leaked = [(f.kind, f.what) for f in await client.doctor() if f.verdict is Verdict.LEAKED]
        assert leaked == [("domain", f"domain {domid}"), ("vif", f"domain {domid}")]


async def test_a_store_that_does_not_answer_is_missing_once(lvm: InMemory, client: Client) -> None:
    lvm.store.broken = True
    assert [finding[:3] for finding in bad(await client.doctor())] == [
        ("xenstore", "missing", "xenstored")
    ]


async def test_a_look_that_takes_too_long_is_given_up(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvm.service.devices, "find", trio.sleep_forever)
    begun = trio.current_time()
    findings = await client.doctor()
    assert trio.current_time() - begun < LOOK_SECONDS + 1
    assert bad(findings) == [
        ("xenstore", "missing", "xenstored", f"no answer after {LOOK_SECONDS:g} s")
    ]


async def test_domains_that_come_and_go_meanwhile_have_no_leaks(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.create(lvm.noop, name="going", nets=LAN)
    await settle()
    real = lvm.service.devices.find

    async def find() -> Collection[Found]:
        found = await real()
        await client.destroy("going", missing_ok=True)
        await client.create(lvm.noop, memory_kib=8192, nets=LAN)
        return found

    monkeypatch.setattr(lvm.service.devices, "find", find)
    assert bad(await client.doctor()) == []
