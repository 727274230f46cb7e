"""Creates that are ready before they are asked for: the same domains as any others, on real Xen."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio

from lightvm.blocking import Client
from lightvm.client import Client as AsyncClient
from lightvm.client import open_client
from lightvm.model import Created, CreateRequest, Domain, State, WaitFor
from tests.lab.daemon import NOOP, DaemonProcess, assert_nothing_leaked, eventually, xl_list

CREATES = 6
QUIET_SECONDS = 3.0
"""Shells are made ready at a quiet time; so long it takes for a full pool."""

PATIENCE = 240.0


def instant(client: Client) -> int:
    """Return how many creates were ready before they were asked for."""
    return sum(pool.instant for pool in client.pool_status())


Ask = Callable[[str], list[Created]]


def one_by_one(socket: str) -> list[Created]:
    """Ask for domains in calls of their own."""
    with Client(socket) as caller:
        return [caller.create(NOOP, wait=WaitFor.READY) for _ in range(CREATES)]


def in_one_call(socket: str) -> list[Created]:
    """Ask for as many at once."""
    with Client(socket) as caller:
        results = caller.create_many([CreateRequest(image=NOOP, wait=WaitFor.READY)] * CREATES)
    return [result.created for result in results if result.created is not None]


def at_once(socket: str) -> list[Created]:
    """Ask for them in as many tasks, each of which is connected already."""
    created: list[Created] = []

    async def create(client: AsyncClient) -> None:
        created.append(await client.create(NOOP, wait=WaitFor.READY))

    async def ask() -> None:
        async with open_client(socket) as client:
            for work in (AsyncClient.version, create):
                async with trio.open_nursery() as nursery:
                    for _ in range(CREATES):
                        nursery.start_soon(work, client)

    trio.run(ask)
    return created


def create_until_instant(
    client: Client, daemon: DaemonProcess, ask: Ask = one_by_one
) -> list[Domain]:
    """Ask for the same again and again, until some were ready before that; return all domains."""
    made: list[Domain] = []
    before = instant(client)

    def are_instant() -> bool:
        daemon.wait_full()
        time.sleep(QUIET_SECONDS)
        created = ask(daemon.socket)
        assert len(created) == CREATES
        made.extend(each.domain for each in created)
        return instant(client) - before >= CREATES // 2

    eventually(are_instant, "creates are ready before they are asked for", PATIENCE)
    return made


@pytest.mark.smoke
@pytest.mark.parametrize("ask", [one_by_one, in_one_call, at_once])
def test_they_are_domains_like_any_others(client: Client, daemon: DaemonProcess, ask: Ask) -> None:
    made = create_until_instant(client, daemon, ask)
    assert all(domain.state is State.READY for domain in made)
    assert len({domain.uuid for domain in made}) == len(made)
    known = {domain.uuid: domain for domain in client.list()}
    for domain in made:
        assert known[domain.uuid] == domain
    names = {domain.domid: domain.name for domain in made}
    eventually(lambda: names.items() <= xl_list().items(), "xl shows their names")
    for domain in made:
        client.destroy(domain.name)
    assert_nothing_leaked(client, daemon.others)


def test_the_next_daemon_finds_them(client: Client, daemon: DaemonProcess) -> None:
    made = create_until_instant(client, daemon)
    daemon.kill()
    daemon.start()
    with Client(daemon.socket) as after:
        known = {domain.uuid: domain for domain in after.list()}
        for domain in made:
            found = known[domain.uuid]
            assert (found.name, found.domid, found.created) == (
                domain.name,
                domain.domid,
                domain.created,
            )
            assert after.wait(domain.uuid, WaitFor.READY).state is State.READY
