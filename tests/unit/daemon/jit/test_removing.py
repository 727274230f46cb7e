"""Services that are removed while the daemon runs."""

from __future__ import annotations

import pytest
import trio

from lightvm import errors
from lightvm.client import Client
from lightvm.model import NetRequest, Verdict
from lightvm.testing import InMemory
from tests.unit.daemon.jit.changes import (
    FIRST,
    IDLE,
    add,
    deliver,
    live,
    make_more_than_are_destroyed_at_once,
    names,
    state,
    wait_live,
    wires,
)
from tests.unit.daemon.jit.samples import arp, number
from tests.waits import settle, until


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
    await lvm.service.lifecycle.burials.wait_for_one()
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
