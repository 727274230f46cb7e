"""Which addresses a new domain gets, and what nftables is told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lightvm import errors
from lightvm.client import Client
from lightvm.daemon.devices import MEND_SECONDS
from lightvm.model import Created, NetRequest, Source
from lightvm.testing import InMemory
from tests.cancel.leftovers import assert_nothing_left
from tests.unit.daemon.samples import serve_with_devices
from tests.waits import settle

LAN = NetRequest(network="lan")
FIXED = NetRequest(network="lan", mac="0a:00:00:00:00:01", ipv4="10.0.0.6")


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory with a network, its pools full."""
    async with serve_with_devices(tmp_path) as served:
        yield served


async def test_a_domain_has_the_addresses_that_its_shell_is_known_by(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvm.filters, "bind", None)
    shell = lvm.service.pools["net"].shells[-1]
    created = await client.create(lvm.noop, nets=[LAN])
    assert created.domain.vifs == shell.vifs
    await settle()


@pytest.mark.parametrize("memory", [None, 8192], ids=["pool", "cold"])
async def test_nftables_is_told_of_other_addresses_soon(
    lvm: InMemory, client: Client, memory: int | None
) -> None:
    created = await client.create(lvm.noop, nets=[FIXED], memory_kib=memory)
    port = f"vif{created.domain.domid}.0"
    await settle()
    assert lvm.filters.ports[port].source == ("0a:00:00:00:00:01", "10.0.0.6")
    await client.destroy(created.domain.uuid)
    await settle()
    assert port not in lvm.filters.ports


async def test_a_shell_whose_addresses_somebody_else_got_gives_others(
    lvm: InMemory, client: Client
) -> None:
    shell = lvm.service.pools["net"].shells[-1]
    had = (shell.vifs[0].ipv4 or "").partition("/")[0]
    taken = NetRequest(network="lan", ipv4=had)
    first = await client.create(lvm.noop, nets=[taken], memory_kib=8192)
    second = await client.create(lvm.noop, nets=[LAN])
    assert (first.source, second.source) == (Source.COLD, Source.POOL)
    assert second.domain.domid == shell.handle.domid
    assert second.domain.vifs[0].ipv4 != shell.vifs[0].ipv4
    await settle()
    for created in (first, second):
        source = lvm.filters.ports[f"vif{created.domain.domid}.0"].source
        assert source is not None
        assert f"{source.ipv4}/29" == created.domain.vifs[0].ipv4
    await assert_nothing_left(lvm)


async def test_a_domain_keeps_its_addresses_where_xen_has_lost_a_shell(
    lvm: InMemory, client: Client
) -> None:
    lost = lvm.service.pools["net"].shells[-1]
    lvm.hypervisor.kill(lost.handle.domid)
    created = await client.create(lvm.noop, nets=[LAN])
    assert created.domain.vifs == lost.vifs
    assert created.domain.domid != lost.handle.domid
    await settle(10)
    assert lvm.filters.ports[f"vif{created.domain.domid}.0"].source is not None
    await assert_nothing_left(lvm)


async def test_an_address_of_a_domain_that_is_being_given_back_is_waited_for(
    lvm: InMemory, client: Client
) -> None:
    first = await client.create(lvm.noop, nets=[FIXED])
    go_on = lvm.hypervisor.hang("destroy")
    await client.destroy(first.domain.uuid)
    second: list[Created] = []

    async def create() -> None:
        second.append(await client.create(lvm.noop, nets=[FIXED]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        await settle(1)
        assert not second
        go_on.set()
    assert second[0].domain.vifs == first.domain.vifs


async def test_a_create_that_is_refused_costs_no_shell(lvm: InMemory, client: Client) -> None:
    before = [shell.uuid for shell in lvm.service.pools.shells()]
    hits = [pool.hits for pool in lvm.service.pools]
    with pytest.raises(errors.AddressTaken):
        await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4="10.0.0.1")])
    assert [shell.uuid for shell in lvm.service.pools.shells()] == before
    assert [pool.hits for pool in lvm.service.pools] == hits
    await assert_nothing_left(lvm)


async def test_addresses_that_nftables_was_not_told_of_are_told_again(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lvm.filters, "bind", lambda sources: _fail())
        created = await client.create(lvm.noop, nets=[FIXED])
        await settle(1)
    await settle(2 * MEND_SECONDS)
    assert lvm.filters.ports[f"vif{created.domain.domid}.0"].source is not None
    assert lvm.filters.ports[f"vif{created.domain.domid}.0"].source.ipv4 == "10.0.0.6"


def _fail() -> None:
    raise errors.LinkFailed("injected")
