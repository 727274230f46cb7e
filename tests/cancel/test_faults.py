"""A failure at any step of anything: nothing is left, and the next request finds everything as it should be."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightvm.client import Client
from lightvm.daemon.journal import (
    DomainRecord,
    ExitRecord,
    GoneRecord,
    Record,
    ShellRecord,
    read_journal,
)
from lightvm.errors import HypercallError, JournalFailed, LightVMError, OutOfMemory
from lightvm.testing import InMemory
from tests.cancel.actions import (
    ACTIONS,
    DEVICE_ACTIONS,
    PLAIN_ACTIONS,
    Action,
    begin,
    clean_up,
    config_for,
    create_cold,
    create_pooled,
    create_pooled_with_devices,
    destroy_ended,
)
from tests.cancel.device_faults import failing
from tests.cancel.leftovers import assert_nothing_left
from tests.cancel.threads import Threads
from tests.host import Host
from tests.waits import settle

STEPS = (
    "host",
    "prepare",
    "load",
    "unpause",
    "pause",
    "close_window",
    "release",
    "destroy",
    "list_domains",
    "find_changed",
    "take_events",
    "unmask",
    "take_console",
    "read_control",
    "spin_control",
)
RECORDS = (ShellRecord, DomainRecord, ExitRecord, GoneRecord)
ACTION = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)


@ACTION
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [HypercallError("no", "step"), OutOfMemory("none left")])
async def test_a_failing_step_leaves_nothing(
    lvm: InMemory, client: Client, action: Action, step: str, error: Exception
) -> None:
    await begin(lvm, client, action)
    lvm.hypervisor.fail(step, error)
    with contextlib.suppress(LightVMError):
        await action(lvm, client)
    await settle(1)
    lvm.hypervisor._failures.clear()
    await clean_up(lvm, client)
    await assert_nothing_left(lvm)


@pytest.mark.parametrize("action", PLAIN_ACTIONS, ids=lambda action: action.__name__)
async def test_a_broken_store_leaves_nothing(lvm: InMemory, client: Client, action: Action) -> None:
    await begin(lvm, client)
    lvm.store.broken = True
    await action(lvm, client)
    await settle(60)
    lvm.store.broken = False
    await clean_up(lvm, client)
    await assert_nothing_left(lvm)


@pytest.mark.slow
@pytest.mark.parametrize("action", DEVICE_ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("count", [1, 10**6], ids=["once", "for good"])
async def test_a_failure_at_any_step_of_a_device_leaves_nothing_for_the_next_daemon(
    tmp_path: Path, threads: Threads, action: Action, count: int
) -> None:
    for number in itertools.count():
        directory = tmp_path / f"{number}"
        directory.mkdir()
        host = Host(directory, config_for(action, directory))
        async with host.daemon() as (lvm, client):
            await begin(lvm, client, action)
            with failing(host, number, count) as taken:
                with contextlib.suppress(LightVMError):
                    await action(lvm, client)
                await settle(1)
        try:
            await assert_next_daemon_is_well(host)
        except BaseException as exc:
            exc.add_note(f"failed at step {number} of {taken}")
            raise
        if len(taken) <= number:
            break


@contextlib.contextmanager
def failing_append(lvm: InMemory, kind: type[Record], times: int) -> Iterator[None]:
    """Let the journal take no records of a kind, a number of times or until the end of the block."""
    journal, left = lvm.service.journal, [times]
    real = journal.append

    def append(record: Record) -> None:
        if isinstance(record, kind) and left[0]:
            left[0] -= 1
            raise JournalFailed("no space left", "journal")
        real(record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "append", append)
        yield


@ACTION
@pytest.mark.parametrize("kind", RECORDS[:3])
async def test_a_journal_without_space_leaves_nothing(
    lvm: InMemory, client: Client, action: Action, kind: type[Record]
) -> None:
    await begin(lvm, client, action)
    with failing_append(lvm, kind, 1):
        with contextlib.suppress(LightVMError):
            await action(lvm, client)
        await settle(1)
    await clean_up(lvm, client)
    await assert_nothing_left(lvm)


async def test_a_destroyed_domain_whose_end_was_not_written_down_leaves_nothing(
    lvm: InMemory, client: Client
) -> None:
    await begin(lvm, client)
    with failing_append(lvm, ExitRecord, 2):
        await destroy_ended(lvm, client)
    await assert_nothing_left(lvm)


async def test_a_journal_that_cannot_be_rewritten_is_gone_on_with(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise JournalFailed("no space left", "journal")

    await begin(lvm, client)
    with monkeypatch.context() as patch:
        patch.setattr(lvm.service.journal, "tend", fail)
        await settle(3)
        await client.create(lvm.noop, name="new")
    await clean_up(lvm, client)
    await assert_nothing_left(lvm)


@pytest.mark.parametrize("create", [create_pooled, create_cold])
async def test_nothing_runs_that_was_not_written_down(
    lvm: InMemory, client: Client, create: Action
) -> None:
    with failing_append(lvm, DomainRecord, 1), pytest.raises(JournalFailed):
        await create(lvm, client)
    assert lvm.hypervisor.calls["unpause"] == 0
    assert await client.list(all=True) == ()
    await assert_nothing_left(lvm)


@pytest.mark.parametrize("step", ["load", "unpause"])
@pytest.mark.parametrize("create", [create_pooled, create_cold])
async def test_a_create_that_fails_half_way_costs_one_shell_and_neither_name_nor_token(
    lvm: InMemory, client: Client, step: str, create: Action
) -> None:
    lvm.hypervisor.fail(step)
    with pytest.raises(HypercallError):
        await create(lvm, client)
    assert await client.list(all=True) == ()
    await create(lvm, client)
    await assert_nothing_left(lvm)


@ACTION
async def test_what_could_not_be_written_down_as_gone_is_cleared_by_the_next_daemon(
    tmp_path: Path, threads: Threads, action: Action
) -> None:
    host = Host(tmp_path, config_for(action, tmp_path))
    async with host.daemon() as (lvm, client):
        await begin(lvm, client, action)
        with failing_append(lvm, GoneRecord, 10**6):
            with contextlib.suppress(LightVMError):
                await action(lvm, client)
            await settle(1)
    await assert_next_daemon_is_well(host)


@pytest.mark.parametrize("step", ["release", "destroy"])
@pytest.mark.parametrize("error", [HypercallError("no", "step"), OutOfMemory("none left")])
@pytest.mark.parametrize("cause", ["load", "unpause"])
@pytest.mark.parametrize(
    "action", [create_pooled, create_pooled_with_devices], ids=["plain", "with devices"]
)
async def test_what_could_not_be_undone_is_undone_by_the_next_daemon(
    tmp_path: Path, threads: Threads, step: str, error: Exception, cause: str, action: Action
) -> None:
    host = Host(tmp_path, config_for(action, tmp_path))
    async with host.daemon() as (lvm, client):
        host.hypervisor.fail(cause)
        host.hypervisor.fail(step, error)
        with pytest.raises(LightVMError):
            await action(lvm, client)
        await settle()
        past = read_journal(host.path)
        known = past.shells.keys() | past.domains.keys()
        assert {d.uuid.hex() for d in host.hypervisor.domains.values()} == known
        assert await client.list(all=True) == ()
    await assert_next_daemon_is_well(host)


async def assert_next_daemon_is_well(host: Host) -> None:
    """Fail unless a daemon that follows clears everything up."""
    async with host.daemon() as (lvm, client):
        await clean_up(lvm, client)
        await assert_nothing_left(lvm)
