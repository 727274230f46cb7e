"""How domains end, what is remembered of it, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from lightvm import errors
from lightvm.client import Client, open_client
from lightvm.model import ExitReason, State, WaitFor
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.unit.daemon.samples import with_limits
from tests.waits import settle, until


@pytest.mark.parametrize("status", [0, 7, -3, 2**31 - 1, -(2**31)])
async def test_a_guest_s_own_status_is_kept(lvm: InMemory, client: Client, status: int) -> None:
    await client.create(lvm.hello, name="job", cmdline=f"status={status}")
    domain = await client.wait("job")
    assert domain.exit is not None
    assert (domain.exit.reason, domain.exit.status) == (ExitReason.POWEROFF, status)


@pytest.mark.parametrize("reason", [ExitReason.REBOOT, ExitReason.SUSPEND, ExitReason.CRASH])
async def test_a_guest_s_own_reason_is_kept(
    lvm: InMemory, client: Client, reason: ExitReason
) -> None:
    created = await client.create(lvm.noop, name="web")
    lvm.hypervisor.end(created.domain.domid, reason, 1)
    domain = await client.wait("web")
    assert domain.exit is not None
    assert (domain.exit.reason, domain.exit.status) == (reason, 1)


@pytest.mark.parametrize(
    ("cmdline", "reason"),
    [
        ("crash", ExitReason.CRASH),
        ("triple-fault", ExitReason.CRASH),
        ("shutdown", ExitReason.POWEROFF),
    ],
)
async def test_an_end_without_a_word_has_no_status(
    lvm: InMemory, client: Client, cmdline: str, reason: ExitReason
) -> None:
    await client.create(lvm.misbehave, name="web", cmdline=cmdline)
    domain = await client.wait("web")
    assert domain.exit is not None
    assert (domain.exit.reason, domain.exit.status) == (reason, None)


@pytest.mark.parametrize("how", ["crash", "kill"])
async def test_an_end_without_a_word_is_noticed_within_a_second(
    lvm: InMemory, client: Client, how: str
) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    for _ in range(7):  # at any moment of the reaper's round
        await trio.sleep(0.13)
        created = await client.create(lvm.noop)
        getattr(lvm.hypervisor, how)(created.domain.domid)
        begun = trio.current_time()
        domain = await client.wait(created.domain.name)
        assert trio.current_time() - begun <= 1.0
        assert domain.exit is not None
        assert domain.exit.reason is (ExitReason.CRASH if how == "crash" else ExitReason.LOST)


async def test_the_last_word_of_a_guest_is_heard_also_where_its_event_comes_late(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await client.create(lvm.noop, name="job", wait=WaitFor.READY)
    await settle()
    monkeypatch.setattr(lvm.hypervisor, "_signal", lambda domain, *, console: None)
    lvm.hypervisor.end(created.domain.domid, ExitReason.POWEROFF, 9)
    domain = await client.wait("job")
    assert domain.exit is not None
    assert domain.exit.status == 9


async def test_an_ended_domain_is_listed_with_all_only(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="job")
    await client.wait("job")
    assert await client.list() == ()
    assert [domain.name for domain in await client.list(all=True)] == ["job"]
    assert (await client.info("job")).state is State.EXITED


async def test_an_ended_domain_is_given_back_to_xen(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.hello, name="job")
    await client.wait("job")
    await until(lambda: created.domain.domid not in lvm.hypervisor.domains)
    assert not lvm.service.lifecycle.routes


async def test_a_guest_that_says_it_ends_but_runs_on_is_ended(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="liar")
    lvm.hypervisor.end(created.domain.domid, ExitReason.POWEROFF, 0)
    lvm.hypervisor.domains[created.domain.domid].shutdown_code = None
    await client.wait("liar")
    await until(lambda: created.domain.domid not in lvm.hypervisor.domains)


async def test_a_destroyed_domain_is_gone_when_the_reply_comes_where_that_is_asked_for(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    domain = await client.destroy("web", wait=True)
    assert domain is not None
    assert domain.exit is not None
    assert domain.exit.reason is ExitReason.DESTROYED
    assert created.domain.domid not in lvm.hypervisor.domains
    assert await client.list(all=True) == ()


async def test_a_destroyed_domain_stands_still_and_is_given_back_later(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    go_on = lvm.hypervisor.hang("destroy")
    await client.destroy("web")
    assert lvm.hypervisor.domains[created.domain.domid].paused
    assert await client.list(all=True) == ()
    assert [f for f in await client.doctor() if f.verdict not in ("ok", "foreign")] == []
    again = await client.create(lvm.noop, name="web")
    go_on.set()
    await until(lambda: created.domain.domid not in lvm.hypervisor.domains)
    assert again.domain.domid in lvm.hypervisor.domains
    await settle()
    assert len(lvm.service.journal.past.domains) == 1


async def test_who_destroys_faster_than_xen_does_waits(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.daemon.lifecycle.MOST_BURIALS", 1)
    for name in ("one", "two"):
        await client.create(lvm.noop, name=name)
    go_on = lvm.hypervisor.hang("destroy")
    await client.destroy("one")
    with trio.move_on_after(1) as scope:
        await client.destroy("two")
    assert scope.cancelled_caught
    go_on.set()
    await until(lambda: len(lvm.hypervisor.domains) == lvm.service.pools.count())


async def test_a_domain_that_was_not_given_back_in_the_background_is_seen_again(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    lvm.hypervisor.fail("destroy")
    await client.destroy("web")
    await settle()
    assert [d.name for d in await client.list(all=True)] == ["web"]
    await client.destroy("web")
    assert created.domain.domid not in lvm.hypervisor.domains
    await settle()
    assert not lvm.service.journal.past.domains
    assert await client.list(all=True) == ()


async def test_an_ended_domain_can_be_destroyed(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="job", cmdline="status=4")
    await client.wait("job")
    domain = await client.destroy("job")
    assert domain is not None
    assert domain.exit is not None
    assert domain.exit.status == 4
    assert await client.list(all=True) == ()


async def test_what_is_not_there_cannot_be_destroyed_unless_that_is_allowed(
    client: Client,
) -> None:
    with pytest.raises(errors.NoSuchDomain):
        await client.destroy("nobody")
    assert await client.destroy("nobody", missing_ok=True) is None


async def test_a_domain_can_be_destroyed_by_two_at_once(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: client.destroy("web", missing_ok=True))
    await until(lambda: len(lvm.hypervisor.domains) == lvm.service.pools.count())
    assert await client.list(all=True) == ()


async def test_an_ended_domain_that_two_destroy_at_once_leaves_no_record(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    await settle()
    go_on = lvm.hypervisor.hang("destroy")
    lvm.hypervisor.crash(created.domain.domid)
    await client.wait("web")
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(lambda: client.destroy("web", missing_ok=True))
        await settle(1)
        go_on.set()
    await settle()
    assert not lvm.service.journal.past.domains
    assert not lvm.service.journal.past.exits


async def test_a_domain_that_was_destroyed_is_gone_from_the_journal_with_one_record(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    await client.destroy("web")
    await settle()
    uuid = created.domain.uuid.replace("-", "")
    assert uuid not in lvm.service.journal.past.domains
    text = (lvm.images / "state" / "journal").read_text()
    assert text.count(f'"op":"gone","uuid":"{uuid}"') == 1


async def test_no_more_ended_domains_are_kept_than_configured(
    tmp_path: Path, threadless: None
) -> None:
    config = with_limits(default_config(tmp_path), keep_exited=2)
    async with serve_in_memory(tmp_path, config=config) as lvm, open_client(lvm.socket) as client:
        for number in range(5):
            await client.create(lvm.hello, name=f"job-{number}", token=f"t-{number}")
            await client.wait(f"job-{number}")
        await settle()
        assert [d.name for d in await client.list(all=True)] == ["job-3", "job-4"]
        assert len(lvm.service.journal.past.domains) == 2
        again = await client.create(lvm.hello, token="t-0")
        assert again.domain.name != "job-0"


async def test_a_domain_that_cannot_be_destroyed_can_be_destroyed_again(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    for _ in range(2):  # the request's attempt, and the one in the background
        lvm.hypervisor.fail("destroy")
    with pytest.raises(errors.HypercallError):
        await client.destroy("web", wait=True)
    await settle()
    assert created.domain.domid in lvm.hypervisor.domains
    assert [d.name for d in await client.list(all=True)] == ["web"]
    assert await client.destroy("web") is not None
    assert created.domain.domid not in lvm.hypervisor.domains
    await settle()
    assert not lvm.service.journal.past.domains


async def test_a_domain_that_xen_did_not_let_go_in_time_is_not_called_gone(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    go_on = lvm.hypervisor.hang("release")  # longer than giving back may take
    async with trio.open_nursery() as nursery:

        async def destroy() -> None:
            with pytest.raises(errors.TimedOut):
                await client.destroy("web", wait=True)

        nursery.start_soon(destroy)
        await settle(100)
        go_on.set()
        assert created.domain.domid in lvm.hypervisor.domains
        assert [domain.name for domain in await client.list(all=True)] == ["web"]
        assert created.domain.uuid.replace("-", "") in lvm.service.journal.past.domains
    await client.destroy("web")
    assert created.domain.domid not in lvm.hypervisor.domains
    await settle()
    assert not lvm.service.journal.past.domains


async def test_pausing_and_unpausing_may_be_repeated(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    for _ in range(2):
        assert (await client.pause("web")).state is State.PAUSED
    assert lvm.hypervisor.calls["pause"] == 1
    assert lvm.hypervisor.domains[created.domain.domid].paused
    for _ in range(2):
        assert (await client.unpause("web")).state is State.READY
    assert lvm.hypervisor.calls["unpause"] == 2


@pytest.mark.parametrize("change", ["pause", "unpause"])
async def test_an_ended_domain_can_be_neither_paused_nor_unpaused(
    lvm: InMemory, client: Client, change: str
) -> None:
    await client.create(lvm.hello, name="job")
    await client.wait("job")
    with pytest.raises(errors.NotPossibleNow) as caught:
        await getattr(client, change)("job")
    assert caught.value.where == "job"


async def test_a_pause_that_fails_changes_nothing(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    lvm.hypervisor.fail("pause")
    with pytest.raises(errors.HypercallError):
        await client.pause("web")
    assert (await client.info("web")).state is State.READY
    assert (await client.pause("web")).state is State.PAUSED


async def test_a_domain_that_is_destroyed_stands_still_from_the_first_moment(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    go_on = lvm.hypervisor.hang("release")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.destroy, "web")
        await until(lambda: not lvm.service.registry.live)
        assert lvm.hypervisor.domains[created.domain.domid].paused
        go_on.set()


async def test_a_domain_that_cannot_be_stopped_is_destroyed_all_the_same(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    lvm.hypervisor.fail("pause")
    await client.destroy("web")
    assert created.domain.domid not in lvm.hypervisor.domains


async def test_memory_of_a_domain_that_is_being_given_back_is_waited_for(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.noop, name="web", cold=True)
    go_on = lvm.hypervisor.hang("destroy")
    await client.destroy("web")
    lvm.hypervisor.fail("prepare", errors.OutOfMemory("none left"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.create(lvm.noop, name="next", cold=True))
        await settle(1)
        assert await client.list() == ()
        go_on.set()
    assert [domain.name for domain in await client.list()] == ["next"]
