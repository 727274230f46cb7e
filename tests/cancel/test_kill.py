"""A daemon that is killed, at any moment: the next one finds everything."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import trio

from lightvm.client import open_client
from lightvm.daemon.journal import Past, read_journal
from lightvm.errors import LightVMError
from lightvm.model import ExitReason, Source, State
from lightvm.testing import InMemory, MemoryStore
from tests.cancel.actions import (
    ACTIONS,
    OLD,
    Action,
    begin,
    config_for,
    create_cold,
    create_cold_with_devices,
    create_pooled,
    create_pooled_with_devices,
    destroy_with_devices,
    guest_ends_with_devices,
    look,
)
from tests.cancel.camera import Camera, Picture
from tests.cancel.leftovers import assert_nothing_left
from tests.host import Host
from tests.waits import settle, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("threads")]

REBOOT = 1
"""Xen's shutdown code of a guest that wants to be started again."""


async def film(directory: Path, action: Action, *, stop: bool = False) -> list[Picture]:
    """Return pictures of a host during an action, or during the daemon's stop after it."""
    directory.mkdir(exist_ok=True)
    host = Host(directory, config_for(action, directory))
    foreign = host.hypervisor.foreign()
    host.store.nodes[f"/local/domain/{foreign}/name"] = "foreign"
    camera = Camera(host)
    with contextlib.ExitStack() as filming:
        async with host.daemon() as (lvm, client):
            await begin(lvm, client, action)
            if not stop:
                filming.enter_context(camera.film())
            with contextlib.suppress(LightVMError):
                await action(lvm, client)
            await settle()
            if stop:
                filming.enter_context(camera.film())
            else:
                filming.close()
    return camera.pictures


async def assert_found(picture: Picture, directory: Path, action: Action) -> None:
    """Fail unless a daemon that starts on a host like in the picture finds everything there."""
    host = picture.restore(directory, config_for(action, directory))
    hypervisor, store = host.hypervisor, host.store
    past = read_journal(host.path)
    before = dict(hypervisor.domains)
    (foreign,) = (domid for domid, node in store_names(store).items() if node == "foreign")
    async with host.daemon() as (lvm, client):
        assert hypervisor.domains[foreign] is before[foreign]
        assert store_names(store)[foreign] == "foreign"
        domains = {d.uuid.replace("-", ""): d for d in await client.list(all=True)}
        destroyed = {u for u, exit_ in past.exits.items() if exit_.reason is ExitReason.DESTROYED}
        again = {u for u, exit_ in past.exits.items() if exit_.reason is ExitReason.REBOOT}
        again |= {d.uuid.hex() for d in before.values() if d.shutdown_code == REBOOT}
        assert domains.keys() >= past.domains.keys() - destroyed - again
        started = [domains.pop(uuid).name for uuid in domains.keys() - past.domains.keys()]
        assert set(started) <= {past.domains[uuid].name for uuid in again & past.domains.keys()}
        running = {d.uuid.hex(): d for d in before.values() if d.shutdown_code is None}
        for uuid, domain in domains.items():
            record = past.domains[uuid]
            assert domain.name == record.name
            assert (domain.state is State.EXITED) == (uuid in past.exits or uuid not in running), (
                domain
            )
            if domain.state is not State.EXITED:
                assert (domain.state is State.PAUSED) == running[uuid].paused
                hypervisor.say(domain.domid, b"still here")
                await settle(1)
                assert (await client.console_read(uuid)).data.endswith(b"still here")
        await assert_tokens(lvm, past)
        await assert_nothing_left(lvm, foreign=[foreign])


async def assert_tokens(lvm: InMemory, past: Past) -> None:
    """Fail unless the tokens of the time before lead to their domains."""
    async with open_client(lvm.socket) as client:
        for uuid, record in past.domains.items():
            if record.request.token is not None:
                again = await client.create(lvm.noop, token=record.request.token)
                assert again.source is Source.EXISTING
                assert again.domain.uuid.replace("-", "") == uuid


def store_names(store: MemoryStore) -> dict[int, str]:
    """Return the names in a store by domid."""
    return {
        int(path.split("/")[3]): name
        for path, name in store.nodes.items()
        if path.startswith("/local/domain/") and path.endswith("/name")
    }


async def assert_all_found(pictures: list[Picture], directory: Path, action: Action) -> None:
    """Fail unless everything is found after a kill at any of these moments."""
    for number, picture in enumerate(pictures):
        try:
            await assert_found(picture, directory / f"{number}", action)
        except BaseException as exc:
            exc.add_note(f"killed at moment {number}: {picture.moment}")
            raise


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_a_daemon_killed_during_anything_is_followed(tmp_path: Path, action: Action) -> None:
    pictures = await film(tmp_path / "host", action)
    assert pictures
    await assert_all_found(pictures, tmp_path, action)


@pytest.mark.parametrize("create", [create_pooled, create_pooled_with_devices])
async def test_a_daemon_killed_during_its_stop_is_followed(tmp_path: Path, create: Action) -> None:
    pictures = await film(tmp_path / "host", create, stop=True)
    assert "after destroy" in [picture.moment for picture in pictures]
    await assert_all_found(pictures, tmp_path, create)


@pytest.mark.parametrize("create", [create_pooled, create_cold, create_pooled_with_devices])
async def test_a_daemon_killed_during_its_start_is_followed(tmp_path: Path, create: Action) -> None:
    # The start after a kill in the middle of a create has shells to remove and domains to take over.
    during = await film(tmp_path / "host", create)
    (unpause,) = [p for p in during if p.moment == "after unpause"]
    host = unpause.restore(tmp_path / "again", config_for(create, tmp_path / "again"))
    camera = Camera(host)
    with camera.film():
        async with host.daemon():
            await settle()
    assert {p.moment for p in camera.pictures} >= {"after destroy", "after prepare"}
    await assert_all_found(camera.pictures, tmp_path, create)


@pytest.mark.parametrize(
    ("create", "moments"),
    [
        (
            create_cold,
            [
                "in the middle of ShellRecord",
                "after ShellRecord",
                "after prepare",
                "in the middle of DomainRecord",
                "after DomainRecord",
                "after unpause",
                "after store write",
            ],
        ),
        (create_cold_with_devices, ["after ports add_port", "after loops add", "after loops bind"]),
        (destroy_with_devices, ["after store remove", "after loops remove"]),
    ],
    ids=["plain", "devices", "destroy"],
)
async def test_every_step_is_filmed(tmp_path: Path, create: Action, moments: list[str]) -> None:
    assert {p.moment for p in await film(tmp_path, create)} >= set(moments)


async def test_nothing_changes_where_nothing_is_done(tmp_path: Path) -> None:
    assert [p.moment for p in await film(tmp_path, look)] == ["end"]


@pytest.mark.parametrize("action", [look, guest_ends_with_devices], ids=["plain", "devices"])
async def test_a_process_that_is_gone_holds_up_nobody(tmp_path: Path, action: Action) -> None:
    host = Host(tmp_path, config_for(action, tmp_path))
    async with host.daemon(kill=True) as (lvm, client):
        await begin(lvm, client, action)
        made = len(host.hypervisor.domains)
    assert len(host.hypervisor.domains) == made  # nothing was given back
    async with host.daemon() as (lvm, client):
        assert (await client.info(OLD)).state is not State.EXITED
        await assert_nothing_left(lvm)


@pytest.mark.parametrize("action", [look, guest_ends_with_devices], ids=["plain", "devices"])
async def test_a_start_that_is_broken_off_while_it_takes_a_domain_over_is_followed(
    tmp_path: Path, action: Action
) -> None:
    host = Host(tmp_path, config_for(action, tmp_path))
    async with host.daemon() as (lvm, client):
        await begin(lvm, client, action)
    go_on = host.hypervisor.hang("adopt")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_start, host)
        await until(lambda: host.hypervisor.calls["adopt"])
        nursery.cancel_scope.cancel()
        go_on.set()
    host.hypervisor.forget_handles()
    async with host.daemon() as (lvm, client):
        assert (await client.info(OLD)).state is not State.EXITED
        await assert_nothing_left(lvm)


async def _start(host: Host) -> None:
    async with host.daemon():
        pass


async def test_a_create_that_was_killed_before_the_unpause_is_carried_out_when_asked_for_again(
    tmp_path: Path,
) -> None:
    pictures = await film(tmp_path / "host", create_pooled)
    (written,) = [p for p in pictures if p.moment == "after DomainRecord"]
    host = written.restore(tmp_path / "again", config_for(None, tmp_path / "again"))
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="new", token="t")
        assert created.source is Source.EXISTING
        assert created.domain.state is not State.PAUSED


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_domain_that_its_owner_paused_stays_paused_over_a_kill(
    tmp_path: Path, at_once: bool
) -> None:
    host = Host(tmp_path)
    async with host.daemon(kill=True) as (lvm, client):
        await client.create(lvm.noop, name="web", paused=at_once)
        if not at_once:
            await client.pause("web")
            host.hypervisor.domains[lvm.service.registry.find("web").record.domid].started = False
    async with host.daemon() as (lvm, client):
        assert (await client.info("web")).state is State.PAUSED
        await client.unpause("web")
        assert (await client.info("web")).state is not State.PAUSED
