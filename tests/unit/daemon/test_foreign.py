"""Domains of other toolstacks."""

from __future__ import annotations

import pytest

from lightvm.client import Client
from lightvm.errors import NoSuchDomain, NotOurs
from lightvm.model import EventKind, State
from lightvm.testing import InMemory
from tests.waits import settle


async def test_they_are_listed_with_their_names_and_ours_are_not(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.noop, name="ours")
    domid, other = lvm.hypervisor.foreign(), lvm.hypervisor.foreign()
    lvm.store.nodes[f"/local/domain/{domid}/name"] = "theirs"
    foreign = await client.foreign()
    assert [(d.domid, d.name) for d in foreign] == [(domid, "theirs"), (other, None)]
    assert [(d.state, d.memory_kib, d.vcpus, d.foreign) for d in foreign] == [
        (State.RUNNING, 65536, 1, True)
    ] * 2


async def test_their_states_are_xens(lvm: InMemory, client: Client) -> None:
    domid = lvm.hypervisor.foreign()
    lvm.hypervisor.domains[domid].paused = True
    assert [d.state for d in await client.foreign()] == [State.PAUSED]
    lvm.hypervisor.crash(domid)
    assert [d.state for d in await client.foreign()] == [State.EXITED]


async def test_a_store_that_does_not_answer_costs_the_names_only(
    lvm: InMemory, client: Client
) -> None:
    lvm.hypervisor.foreign()
    lvm.store.broken = True
    assert [d.name for d in await client.foreign()] == [None]


@pytest.mark.parametrize("method", ["info", "pause", "unpause", "stop", "restart", "destroy"])
async def test_who_asks_for_one_is_told_whose_it_is(
    lvm: InMemory, client: Client, method: str
) -> None:
    domid = lvm.hypervisor.foreign()
    lvm.store.nodes[f"/local/domain/{domid}/name"] = "theirs"
    (domain,) = await client.foreign()
    for key in ("theirs", str(domid), domain.uuid, domain.uuid.replace("-", "").upper()):
        with pytest.raises(NotOurs) as caught:
            await getattr(client, method)(key)
        assert caught.value.where == key
    with pytest.raises(NoSuchDomain):
        await getattr(client, method)("nobody")
    assert not lvm.hypervisor.domains[domid].paused


async def test_a_missing_one_may_be_missing_but_not_be_another_s(
    lvm: InMemory, client: Client
) -> None:
    domid = lvm.hypervisor.foreign()
    assert await client.destroy("nobody", missing_ok=True) is None
    with pytest.raises(NotOurs):
        await client.destroy(str(domid), missing_ok=True)


async def test_what_others_pause_is_noticed(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    domain = lvm.hypervisor.domains[created.domain.domid]
    async with client.watch() as events:
        domain.paused = True
        await settle(1)
        assert (await client.info("web")).state is State.PAUSED
        domain.paused = False
        await settle(1)
        assert (await client.info("web")).state is State.READY
        kinds = [(await anext(events)).kind for _ in range(2)]
    assert kinds == [EventKind.PAUSED, EventKind.UNPAUSED]
    record = lvm.service.journal.past.domains[created.domain.uuid.replace("-", "")]
    assert not record.paused


async def test_a_shell_that_somebody_lets_run_is_used_by_nobody(
    lvm: InMemory, client: Client
) -> None:
    shell = lvm.service.pools["tiny"].shells[0]
    lvm.hypervisor.domains[shell.handle.domid].paused = False
    await settle(15)
    assert shell.uuid not in lvm.service.pools.uuids
