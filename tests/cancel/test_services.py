"""A daemon that is killed while a service is added, at work or removed: the next one has all of it, or nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lightvm.client import Client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection
from lightvm.daemon.journal import read_journal
from lightvm.model import NetRequest
from lightvm.testing import InMemory, default_config
from tests.cancel.camera import Camera, Picture
from tests.cancel.leftovers import assert_nothing_left
from tests.host import Host
from tests.unit.daemon.jit.samples import arp
from tests.waits import settle, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("threads")]

ADDRESS = "10.77.0.64"


def make_config(directory: Path) -> Config:
    """Return a configuration without services."""
    return msgspec.structs.replace(
        default_config(directory),
        networks={"lan": NetworkSection(bridge="lvbr0", address="10.77.0.1/24")},
        flavors={"net": FlavorSection(low=1, high=1, networks=("lan",))},
    )


async def add(lvm: InMemory, client: Client) -> None:
    await client.add_service("web", image=lvm.noop, network="lan", addresses=[f"{ADDRESS}/30"])


async def film(directory: Path) -> list[Picture]:
    """Return pictures of a host from before a service is added until after it is removed."""
    directory.mkdir()
    host = Host(directory, make_config(directory))
    camera = Camera(host)
    async with host.daemon() as (lvm, client):
        with camera.film():
            await add(lvm, client)
            lvm.wires.wires[-1].deliver(arp(ADDRESS))
            await until(lambda: lvm.service.services.describe()[0].live == 1)
            await settle()
            await client.remove_service("web")
            await settle()
    return camera.pictures


async def assert_all_or_nothing(picture: Picture, directory: Path) -> None:
    """Fail unless a daemon that starts on such a host has the service with its domain, or neither."""
    host = picture.restore(directory, make_config(directory))
    past = read_journal(host.path).services.get("web")
    async with host.daemon() as (lvm, client):
        await settle()
        names = [service.name for service in await client.services()]
        assert names == ([] if past is None or past.removing else ["web"])
        assert list(lvm.service.journal.past.services) == names
        live = await client.list()
        assert {domain.name for domain in live} <= {f"web-{ADDRESS}"}
        assert sum(service.live for service in await client.services()) == len(live)
        if names:
            await client.remove_service("web")
        assert await client.list() == ()
        created = await client.create(lvm.noop, nets=[NetRequest(network="lan", ipv4=ADDRESS)])
        await client.destroy(created.domain.name)
        await add(lvm, client)
        await assert_nothing_left(lvm)


async def test_a_daemon_killed_at_any_moment_leaves_all_of_a_service_or_nothing(
    tmp_path: Path,
) -> None:
    pictures = await film(tmp_path / "host")
    moments = [picture.moment for picture in pictures]
    assert (
        moments.count("after ServiceRecord") == 2
    )  # when it is added, and when its removal begins
    assert "after ServiceGoneRecord" in moments
    for number, picture in enumerate(pictures):
        try:
            await assert_all_or_nothing(picture, tmp_path / f"{number}")
        except BaseException as exc:
            exc.add_note(f"killed at moment {number}: {picture.moment}")
            raise
