"""What a starting daemon makes of what an earlier one left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from lightvm.daemon.journal import ShellRecord, read_journal
from lightvm.errors import HypercallError, OutOfMemory
from lightvm.model import ExitReason, Source, State, Verdict, WaitFor
from lightvm.xen.hypervisor import Shape
from tests.host import Host
from tests.waits import settle, until

ERRORS = pytest.mark.parametrize("error", [HypercallError("no", "step"), OutOfMemory("none left")])


@pytest.fixture
def host(tmp_path: Path, threadless: None) -> Host:
    return Host(tmp_path)


async def test_a_running_domain_is_taken_over_under_its_name(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web", cmdline="a", wait=WaitFor.READY)
    async with host.daemon() as (_, client):
        domain = await client.wait("web", WaitFor.READY)
        assert domain.uuid == created.domain.uuid
        assert domain.domid == created.domain.domid
        assert (domain.cmdline, domain.created) == ("a", created.domain.created)
        assert domain.state is State.READY
        assert [d.name for d in await client.list()] == ["web"]


async def test_a_console_goes_on_after_a_restart(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    host.hypervisor.domains[created.domain.domid].console += b"meanwhile "
    async with host.daemon() as (_, client):
        host.hypervisor.say(created.domain.domid, b"again")
        await settle()
        assert (await client.console_read("web")).data == b"meanwhile again"


async def test_a_paused_domain_stays_paused(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        await client.create(lvm.noop, name="web", paused=True)
    async with host.daemon() as (_, client):
        assert (await client.info("web")).state is State.PAUSED
        await client.unpause("web")
        assert (await client.wait("web", WaitFor.READY)).state is State.READY


async def test_a_domain_that_was_taken_over_can_be_paused_and_destroyed(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web")
    async with host.daemon() as (_, client):
        assert (await client.pause("web")).state is State.PAUSED
        await client.destroy("web", wait=True)
        assert created.domain.domid not in host.hypervisor.domains
    assert not read_journal(host.path).domains


async def test_what_is_being_given_back_is_waited_for_at_the_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host.daemon() as (lvm, client):
        remove = lvm.service.names.remove

        async def remove_slowly(domid: int) -> None:
            await trio.sleep(1.3)  # `Host` waits a second
            await remove(domid)

        monkeypatch.setattr(lvm.service.names, "remove", remove_slowly)
        await client.create(lvm.noop, name="web")
        await client.destroy("web")
    assert not read_journal(host.path).domains


@pytest.mark.parametrize("guest", ["noop", "hello"])
async def test_a_token_is_honoured_after_a_restart(host: Host, guest: str) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(getattr(lvm, guest), token="t")
    async with host.daemon() as (lvm, client):
        again = await client.create(lvm.noop, token="t")
        assert again.source is Source.EXISTING
        assert again.domain.uuid == created.domain.uuid


async def test_an_exited_domain_is_still_listed_with_its_exit(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        await client.create(lvm.hello, name="job", cmdline="status=5")
        before = await client.wait("job")
    async with host.daemon() as (_, client):
        assert await client.list() == ()
        (domain,) = await client.list(all=True)
        assert domain.exit == before.exit
        await client.destroy("job")
    assert not read_journal(host.path).domains


async def test_a_domain_that_exited_meanwhile_is_taken_with_its_last_words(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="job", wait=WaitFor.READY)
    host.hypervisor.say(created.domain.domid, b"done")
    host.hypervisor.end(created.domain.domid, ExitReason.POWEROFF, -2)
    async with host.daemon() as (_, client):
        domain = await client.info("job")
        assert domain.state is State.EXITED
        assert domain.exit is not None
        assert (domain.exit.reason, domain.exit.status) == (ExitReason.POWEROFF, -2)
        await settle()
        assert (await client.console_read("job")).data == b"done"
        assert created.domain.domid not in host.hypervisor.domains
        assert host.store.nodes == {}


async def test_a_domain_that_crashed_meanwhile_has_crashed(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web")
    host.hypervisor.crash(created.domain.domid)
    async with host.daemon() as (_, client):
        domain = await client.info("web")
        assert domain.exit is not None
        assert domain.exit.reason is ExitReason.CRASH
        await until(lambda: created.domain.domid not in host.hypervisor.domains)


async def test_a_domain_that_crashed_and_cannot_be_taken_over_has_crashed(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web")
    host.hypervisor.crash(created.domain.domid)
    host.hypervisor.fail("adopt")
    async with host.daemon() as (_, client):
        domain = await client.info("web")
        assert domain.exit is not None
        assert domain.exit.reason is ExitReason.CRASH
        await until(lambda: created.domain.domid not in host.hypervisor.domains)


async def test_a_domain_that_somebody_destroyed_meanwhile_is_lost(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web")
    host.hypervisor.kill(created.domain.domid)
    async with host.daemon() as (_, client):
        domain = await client.info("web")
        assert domain.exit is not None
        assert domain.exit.reason is ExitReason.LOST
        await settle()
        assert host.store.nodes == {}


@ERRORS
async def test_a_domain_that_cannot_be_taken_over_runs_on_and_is_told_as_a_leak(
    host: Host, error: Exception
) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web")
    host.hypervisor.fail("adopt", error)
    async with host.daemon() as (_, client):
        assert await client.list(all=True) == ()
        leaked = [f.what for f in await client.doctor() if f.verdict is Verdict.LEAKED]
        assert leaked == [f"domain {created.domain.domid}"]
    assert not host.hypervisor.domains[created.domain.domid].paused
    async with host.daemon() as (_, client):
        assert (await client.info("web")).uuid == created.domain.uuid


async def test_a_shell_that_was_left_is_removed(host: Host) -> None:
    uuid = os.urandom(16)
    handle = await host.hypervisor.prepare(Shape.of(4096, 1), uuid)
    host.write_journal(ShellRecord(uuid=uuid.hex(), flavor="tiny"))
    host.hypervisor.forget_handles()
    async with host.daemon():
        assert handle.domid not in host.hypervisor.domains
    assert not read_journal(host.path).shells


async def test_a_shell_that_was_never_made_is_forgotten(host: Host) -> None:
    host.write_journal(ShellRecord(uuid="ab" * 16, flavor="tiny"))
    async with host.daemon():
        assert host.hypervisor.calls["destroy"] == 0
    assert not read_journal(host.path).shells


@ERRORS
async def test_a_shell_that_cannot_be_removed_is_removed_by_the_next_daemon(
    host: Host, error: Exception
) -> None:
    uuid = os.urandom(16)
    handle = await host.hypervisor.prepare(Shape.of(4096, 1), uuid)
    host.write_journal(ShellRecord(uuid=uuid.hex(), flavor="tiny"))
    host.hypervisor.forget_handles()
    host.hypervisor.fail("destroy", error)
    async with host.daemon():
        assert handle.domid in host.hypervisor.domains
    async with host.daemon():
        assert handle.domid not in host.hypervisor.domains


async def test_what_is_not_ours_is_not_touched(host: Host) -> None:
    foreign = host.hypervisor.foreign()
    shell = await host.hypervisor.prepare(Shape.of(4096, 1), os.urandom(16))
    host.store.nodes = {f"/local/domain/{domid}/name": "theirs" for domid in (foreign, shell.domid)}
    before = dict(host.store.nodes)
    for _ in range(2):
        async with host.daemon():
            pass
    assert set(host.hypervisor.domains) == {foreign, shell.domid}
    assert host.store.nodes == before


async def test_a_domid_that_another_domain_has_by_now_is_left_to_it(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="old")
    domid = created.domain.domid
    host.hypervisor.domains[domid].uuid = os.urandom(16)
    host.store.nodes = {f"/local/domain/{domid}/name": "theirs"}
    async with host.daemon() as (_, client):
        old = await client.info("old")
        assert old.exit is not None
        assert old.exit.reason is ExitReason.LOST
        await client.destroy("old")
        await settle()
    assert domid in host.hypervisor.domains
    assert host.store.nodes == {f"/local/domain/{domid}/name": "theirs"}


async def test_the_names_of_domains_are_written_again(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web")
    host.store.nodes.clear()
    async with host.daemon():
        await settle()
        assert host.store.nodes == {f"/local/domain/{created.domain.domid}/name": "web"}


async def test_a_domain_that_could_not_be_given_back_is_given_back_by_the_next_daemon(
    host: Host,
) -> None:
    async with host.daemon() as (lvm, client):
        created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
        await settle()
        host.hypervisor.fail("destroy")
        host.hypervisor.end(created.domain.domid, ExitReason.POWEROFF, 1)
        await client.wait("web")
        await settle()
        assert created.domain.domid in host.hypervisor.domains
    async with host.daemon() as (_, client):
        await settle()
        assert created.domain.domid not in host.hypervisor.domains
        (domain,) = await client.list(all=True)
        assert domain.exit is not None
        assert domain.exit.status == 1


async def test_rubbish_in_the_journal_costs_nothing_but_itself(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        await client.create(lvm.noop, name="web")
    with host.path.open("ab") as file:
        file.write(b'rubbish\n{"op":"domain","uu')
    async with host.daemon() as (_, client):
        assert [domain.name for domain in await client.list()] == ["web"]
        assert [f.detail for f in await client.doctor() if f.kind == "journal"] == [
            "2 lines of the journal could not be read at start"
        ]


async def test_many_restarts_change_nothing(host: Host) -> None:
    async with host.daemon() as (lvm, client):
        await client.create(lvm.noop, name="web")
        await client.create(lvm.hello, name="job")
        await client.wait("job")
    for _ in range(5):
        async with host.daemon() as (_, client):
            assert [d.name for d in await client.list(all=True)] == ["web", "job"]
    assert len(host.hypervisor.domains) == 1
