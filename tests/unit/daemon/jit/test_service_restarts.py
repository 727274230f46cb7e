"""Services that were added, and the next daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio

from lightvm import errors
from lightvm.daemon.config import ServiceSection
from lightvm.daemon.journal import ServiceRecord, read_journal
from lightvm.model import NetRequest, State
from tests.host import Host
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


@pytest.mark.parametrize("kill", [False, True])
async def test_the_next_daemon_has_it_again_with_its_domains(host: Host, kill: bool) -> None:
    async with host.daemon(kill=kill) as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
        uuid = (await client.info(f"web-{FIRST}")).uuid
        before = state(lvm)
    async with host.daemon() as (lvm, client):
        assert state(lvm) == before
        assert (await client.info(f"web-{FIRST}")).uuid == uuid
        deliver(lvm, "10.77.0.65")
        await wait_live(lvm, f"web-{FIRST}", "web-10.77.0.65")
        with pytest.raises(errors.AddressTaken, match="service web"):
            await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4="10.77.0.66")])
        await settle(IDLE + 3)
        assert not live(lvm)
        await client.remove_service("web")
    async with host.daemon() as (lvm, _):
        assert names(lvm) == ["fixed"]


async def test_the_next_daemon_finishes_a_removal(host: Host) -> None:
    async with host.daemon(kill=True) as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
        section = lvm.service.journal.past.services["web"].section
        lvm.service.journal.append(ServiceRecord(name="web", section=section, removing=True))
    async with host.daemon() as (lvm, client):
        await until(lambda: not lvm.service.journal.past.services)
        assert (names(lvm), live(lvm)) == (["fixed"], set())
        await add(lvm, client)
    assert not read_journal(host.path).services["web"].removing


async def test_a_stop_during_a_removal_leaves_the_rest_to_the_next_daemon(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        await add(lvm, client)
        await make_more_than_are_destroyed_at_once(lvm)
        go_on = lvm.hypervisor.hang("destroy")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail, client.remove_service, "web")
            await settle(0.1)
            lvm.service.stop.set()
            await settle(1)
            go_on.set()
    assert read_journal(host.path).services["web"].removing
    async with host.daemon() as (lvm, client):
        await until(lambda: not lvm.service.journal.past.services)
        assert (names(lvm), live(lvm)) == (["fixed"], set())


async def _fail(call: Callable[[str], Awaitable[object]], name: str) -> None:
    with pytest.raises((errors.ConnectionLost, errors.StoppingNow)):
        await call(name)


async def test_a_stop_during_an_add_leaves_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host.daemon() as (lvm, client):
        go_on = trio.Event()

        async def hang(ranges: object) -> None:
            await go_on.wait()

        monkeypatch.setattr(lvm.service.devices, "note_services", hang)

        async def fail() -> None:
            with pytest.raises(errors.StoppingNow):
                await add(lvm, client)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await settle(0.1)
            lvm.service.stop.set()
            await settle(0.1)
            go_on.set()
    assert not read_journal(host.path).services


def reconfigured(host: Host, **services: ServiceSection) -> None:
    """Give the next daemon another configuration."""
    assert host._config is not None
    host._config = msgspec.structs.replace(host._config, services=services)


async def test_a_service_that_the_configuration_has_by_now_is_the_configurations(
    host: Host,
) -> None:
    async with host.daemon() as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
        section = lvm.service.journal.past.services["web"].section
    reconfigured(host, web=section)
    async with host.daemon() as (lvm, client):
        assert [service.live for service in await client.services()] == [1]
        await until(lambda: not lvm.service.journal.past.services)
        with pytest.raises(errors.NotRemovable):
            await client.remove_service("web")


async def test_a_service_that_does_not_go_with_the_configuration_is_not_served_but_kept(
    host: Host,
) -> None:
    assert host._config is not None
    before = host._config.services
    async with host.daemon() as (lvm, client):
        await add(lvm, client)
        deliver(lvm, FIRST)
        await wait_live(lvm, f"web-{FIRST}")
    other = msgspec.structs.replace(before["fixed"], addresses=("10.77.0.70",))
    reconfigured(host, other=other)
    async with host.daemon() as (lvm, client):
        assert (names(lvm), live(lvm)) == (["other"], {f"web-{FIRST}"})
        with pytest.raises(errors.NameTaken):
            await add(lvm, client, addresses=("10.77.0.200",))
    reconfigured(host, **before)
    async with host.daemon() as (lvm, client):
        assert [service.live for service in await client.services()] == [0, 1]
    reconfigured(host, other=other)
    async with host.daemon() as (lvm, client):
        await client.remove_service("web")
        assert (names(lvm), live(lvm)) == (["other"], set())


async def test_domains_that_a_service_of_that_name_has_left_are_taken_over(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        wires(lvm)[number("10.77.0.16")].deliver(arp("10.77.0.17"))
        await wait_live(lvm, "fixed-10.77.0.17")
    reconfigured(host)
    async with host.daemon() as (lvm, client):
        with pytest.raises(errors.AddressTaken):
            await add(lvm, client, "other", addresses=("10.77.0.16/28",))
        await add(lvm, client, "fixed", addresses=("10.77.0.16/28",))
        await settle(0.1)
        assert [service.live for service in await client.services()] == [1]
        assert (await client.info("fixed-10.77.0.17")).state is State.READY
