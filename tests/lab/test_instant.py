"""Creates that are ready before they are asked for: the same domains as any others, on real Xen."""

from __future__ import annotations

import time

import pytest

from lightvm.blocking import Client
from lightvm.model import Domain, State, WaitFor
from tests.lab.daemon import NOOP, DaemonProcess, assert_nothing_leaked, eventually, xl_list

CREATES = 6
QUIET_SECONDS = 3.0
"""Shells are made ready at a quiet time; so long it takes for a full pool."""

PATIENCE = 240.0


def instant(client: Client) -> int:
    """Return how many creates were ready before they were asked for."""
    return sum(pool.instant for pool in client.pool_status())


def create_until_instant(client: Client, daemon: DaemonProcess) -> list[Domain]:
    """Ask for the same again and again, until some were ready before that; return all domains."""
    made: list[Domain] = []
    before = instant(client)

    def are_instant() -> bool:
        daemon.wait_full()
        time.sleep(QUIET_SECONDS)
        with Client(daemon.socket) as caller:
            created = [caller.create(NOOP, wait=WaitFor.READY) for _ in range(CREATES)]
        made.extend(each.domain for each in created)
        return instant(client) - before >= CREATES // 2

    eventually(are_instant, "creates are ready before they are asked for", PATIENCE)
    return made


@pytest.mark.smoke
def test_they_are_domains_like_any_others(client: Client, daemon: DaemonProcess) -> None:
    made = create_until_instant(client, daemon)
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
