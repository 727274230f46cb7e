"""Networks that ask for anti-spoofing or NAT, in a daemon in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from lightvm.client import Client, open_client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection
from lightvm.daemon.devices import MEND_SECONDS, PORT_SECONDS
from lightvm.daemon.net.filters import Source
from lightvm.daemon.net.networks import describe_source
from lightvm.daemon.net.room import MAX_PORTS
from lightvm.errors import LinkFailed
from lightvm.model import Created, CreateRequest, NetRequest, Vif
from lightvm.testing import (
    FakeHypervisor,
    InMemory,
    MemoryFilters,
    MemoryStore,
    serve_in_memory,
)
from lightvm.testing import default_config as plain_config
from lightvm.xen.hypervisor import Handle, Unpaused
from tests.waits import settle, until

SAFE = [NetRequest(network="safe")]
GIVEN = [NetRequest(network="safe", ipv4="10.77.0.77")]
BOTH = [NetRequest(network="open"), NetRequest(network="safe")]


def make_config(directory: Path, **changed: object) -> Config:
    """Return a configuration with a network that is guarded and one that is not, and two shells."""
    safe = NetworkSection(bridge="lvbr0", address="10.77.0.1/24", antispoof=True)
    return msgspec.structs.replace(
        plain_config(directory),
        networks={
            "open": NetworkSection(bridge="lvbr1", address="10.78.0.1/24"),
            "safe": msgspec.structs.replace(safe, **changed),
        },
        flavors={"net": FlavorSection(low=2, high=2, networks=("safe",))},
    )


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon with guarded shells, its pool full."""
    async with serve_in_memory(tmp_path, config=make_config(tmp_path)) as served:
        await until(lambda: served.service.pools.count() == 2)
        yield served


def source(created: Created, index: int = 0) -> dict[str, Source | None]:
    """Return what a domain's vif may send from."""
    vif = created.domain.vifs[index]
    assert vif.ipv4 is not None
    port = f"vif{created.domain.domid}.{index}"
    return {port: Source(vif.mac, vif.ipv4.partition("/")[0])}


def shells(lvm: InMemory) -> dict[str, Source | None]:
    """Return the guarded ports of shells, each with what its domain will have."""
    return {
        f"vif{shell.handle.domid}.0": describe_source(shell.vifs[0])
        for shell in lvm.service.pools.shells()
    }


async def test_a_port_of_a_shell_is_guarded(lvm: InMemory) -> None:
    assert len(lvm.filters.guarded) == 2
    assert lvm.filters.guarded == shells(lvm)
    assert lvm.ports.hooked == shells(lvm).keys()


@pytest.mark.parametrize("memory_kib", [None, 8192], ids=["pooled", "cold"])
@pytest.mark.parametrize("ipv4", [None, "10.77.0.77"])
async def test_a_guest_may_send_from_its_addresses_before_it_runs(
    lvm: InMemory,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    memory_kib: int | None,
    ipv4: str | None,
) -> None:
    unpause, seen = lvm.hypervisor.unpause, []

    def look(handle: Handle) -> Unpaused:
        seen.append(lvm.filters.guarded[f"vif{handle.domid}.0"])
        return unpause(handle)

    monkeypatch.setattr(lvm.hypervisor, "unpause", look)
    nets = [NetRequest(network="safe", ipv4=ipv4)]
    created = await client.create(lvm.noop, nets=nets, memory_kib=memory_kib)
    assert seen == list(source(created).values())


async def test_of_several_vifs_those_in_guarded_networks_are_guarded(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, nets=BOTH)
    assert lvm.filters.guarded == {**shells(lvm), **source(created, 1)}


async def test_where_nothing_is_guarded_nobody_needs_nftables(
    tmp_path: Path, threadless: None
) -> None:
    filters = MemoryFilters()
    config = make_config(tmp_path, antispoof=False)
    async with serve_in_memory(tmp_path, config=config, filters=filters) as lvm:
        await until(lambda: lvm.service.pools.count() == 2)
        assert not filters.guarded
        assert not filters.guards
        assert not lvm.ports.forwarding
        filters.broken = True
        async with open_client(lvm.socket) as client:
            created = await client.create(lvm.noop, nets=BOTH)
            await client.destroy(created.domain.name)
        await settle()
        assert not lvm.ports.hooked


async def test_a_create_that_cannot_be_guarded_leaves_nothing(
    lvm: InMemory, client: Client
) -> None:
    lvm.filters.broken = True
    with pytest.raises(LinkFailed, match="injected"):
        await client.create(lvm.noop, name="unsafe", nets=GIVEN)
    lvm.filters.broken = False
    await until(lambda: lvm.service.pools.count() == 2)
    await settle()
    assert await client.list(all=True) == ()
    assert len(lvm.hypervisor.domains) == 2
    again = await client.create(lvm.noop, name="unsafe", nets=GIVEN)
    assert source(again).items() <= lvm.filters.guarded.items()


async def test_a_create_that_is_cancelled_meanwhile_leaves_nothing(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_send = lvm.service.creator._devices.let_send

    async def too_slow(domid: int, vifs: Sequence[Vif], *, xenstore: bool) -> None:
        await let_send(domid, vifs, xenstore=xenstore)
        await trio.sleep_forever()

    monkeypatch.setattr(lvm.service.creator._devices, "let_send", too_slow)
    with trio.move_on_after(1) as scope:
        await lvm.service.creator.create(CreateRequest(image=lvm.noop, nets=tuple(GIVEN)))
    assert scope.cancelled_caught
    await until(lambda: lvm.service.pools.count() == 2)
    await settle()
    assert len(lvm.hypervisor.domains) == 2
    assert lvm.filters.guarded == shells(lvm)


async def test_a_port_is_guarded_until_its_device_has_gone(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, nets=SAFE)
    (port,) = source(created)
    lvm.ports.lingering.add(port)
    await client.destroy(created.domain.name)
    await settle(1)
    assert port in lvm.filters.guarded
    lvm.ports.lingering.clear()
    await settle(1)
    assert lvm.filters.guarded == shells(lvm)


async def test_a_device_that_does_not_go_stays_guarded_and_in_the_journal(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, nets=SAFE)
    (port,) = source(created)
    lvm.ports.lingering.add(port)
    await client.destroy(created.domain.name)
    await settle(2 * PORT_SECONDS)
    assert port in lvm.filters.guarded
    assert created.domain.uuid.replace("-", "") in lvm.service.journal.past.domains


@pytest.mark.usefixtures("threadless")
async def test_a_restart_guards_the_domains_that_run_and_no_others(tmp_path: Path) -> None:
    hypervisor, store, filters = FakeHypervisor(), MemoryStore(), MemoryFilters()
    config = make_config(tmp_path)
    async with serve_in_memory(
        tmp_path, config=config, hypervisor=hypervisor, store=store, filters=filters
    ) as lvm:
        async with open_client(lvm.socket) as client:
            kept = await client.create(lvm.noop, nets=SAFE)
            gone = await client.create(lvm.noop, nets=SAFE)
    assert filters.guarded == {**source(kept), **source(gone)}  # a daemon that stops leaves them
    hypervisor.forget_handles()
    hypervisor.kill(gone.domain.domid)
    filters = MemoryFilters()
    async with serve_in_memory(
        tmp_path, config=config, hypervisor=hypervisor, store=store, filters=filters
    ) as lvm:
        assert source(kept).items() <= filters.guarded.items()
        assert not source(gone).keys() & filters.guarded.keys()
        async with open_client(lvm.socket) as client:
            await client.destroy(kept.domain.name)
        await settle()
        assert not source(kept).keys() & filters.guarded.keys()


@pytest.mark.usefixtures("threadless")
async def test_a_network_may_be_guarded_from_the_next_start_on(tmp_path: Path) -> None:
    hypervisor, store = FakeHypervisor(), MemoryStore()
    before = make_config(tmp_path, antispoof=False)
    async with serve_in_memory(tmp_path, config=before, hypervisor=hypervisor, store=store) as lvm:
        async with open_client(lvm.socket) as client:
            kept = await client.create(lvm.noop, nets=SAFE)
    hypervisor.forget_handles()
    after = make_config(tmp_path)
    async with serve_in_memory(tmp_path, config=after, hypervisor=hypervisor, store=store) as lvm:
        assert source(kept).items() <= lvm.filters.guarded.items()
        assert source(kept).keys() <= lvm.ports.hooked


@pytest.mark.usefixtures("threadless")
@pytest.mark.parametrize("changed", [{}, {"antispoof": False, "nat": True}])
async def test_a_daemon_that_cannot_filter_does_not_start_where_it_should(
    tmp_path: Path, changed: dict[str, bool]
) -> None:
    filters = MemoryFilters()
    filters.broken = True
    with pytest.raises(BaseExceptionGroup) as caught:
        async with serve_in_memory(
            tmp_path, config=make_config(tmp_path, **changed), filters=filters
        ):
            pass
    assert caught.group_contains(LinkFailed)


@pytest.mark.usefixtures("threadless")
async def test_nat_makes_a_router_of_the_host(tmp_path: Path) -> None:
    config = make_config(tmp_path, antispoof=False, nat=True)
    async with serve_in_memory(tmp_path, config=config) as lvm:
        (nat,) = lvm.filters.nats
        assert (nat.bridge, str(nat.subnet)) == ("lvbr0", "10.77.0.0/24")
        assert lvm.ports.forwarding
        assert not lvm.filters.guards


async def test_filters_that_somebody_removed_are_looked_for_as_long_as_they_are_asked_for(
    lvm: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = []

    def mend() -> bool:
        mended.append(trio.current_time())
        if len(mended) == 1:
            raise LinkFailed("not now")
        return True

    monkeypatch.setattr(lvm.filters, "mend", mend)
    await settle(3 * MEND_SECONDS)
    assert len(mended) >= 2


async def test_a_full_bridge_is_an_error_before_anything_is_made(
    lvm: InMemory, client: Client
) -> None:
    domains, lines = len(lvm.hypervisor.domains), lvm.service.journal.past.shells.keys()
    lvm.ports.others["lvbr0"] = MAX_PORTS
    with pytest.raises(LinkFailed, match="full") as caught:
        await client.create(lvm.noop, nets=SAFE, memory_kib=8192)
    assert caught.value.where == "lvbr0"
    assert len(lvm.hypervisor.domains) == domains
    assert lvm.service.journal.past.shells.keys() == lines
    elsewhere = await client.create(lvm.noop, nets=[NetRequest(network="open")])
    assert elsewhere.domain.vifs[0].network == "open"


async def test_the_port_of_a_domain_that_is_being_given_back_is_waited_for(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.noop, nets=SAFE, name="web")
    await settle()
    lvm.ports.others["lvbr0"] = MAX_PORTS - 3  # two shells, and the domain
    go_on = lvm.hypervisor.hang("destroy")
    await client.destroy("web")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.create(lvm.noop, nets=SAFE, memory_kib=8192, name="next"))
        try:
            await settle(1)
            assert await client.list() == ()
        finally:
            go_on.set()
    assert [domain.name for domain in await client.list()] == ["next"]


async def test_a_pool_says_that_its_bridge_is_full_and_fills_when_there_is_room(
    lvm: InMemory, client: Client
) -> None:
    lvm.ports.others["lvbr0"] = MAX_PORTS
    for _ in range(2):
        await client.create(lvm.noop, nets=SAFE)  # these have their ports already
    await settle()
    (pool,) = await client.pool_status()
    assert pool.shells == 0
    assert "link-failed" in str(pool.last_error)
    lvm.ports.others.clear()
    await until(lambda: lvm.service.pools.count() == 2)
