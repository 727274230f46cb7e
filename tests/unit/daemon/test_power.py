"""Stopping, restarting, and the policies of ends."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from lightvm.client import Client
from lightvm.errors import NoSuchDomain, NotPossibleNow, TimedOut
from lightvm.model import ExitReason, Policy, Power, State, WaitFor
from lightvm.testing import InMemory


async def wait_for_another(client: Client, name: str, uuid: str) -> str:
    """Wait until a name is that of another live domain; return its UUID."""
    while True:
        for domain in await client.list():
            if domain.name == name and domain.uuid != uuid:
                return domain.uuid
        await trio.sleep(0.01)


@pytest.mark.parametrize("power", list(Power))
async def test_a_guest_that_hears_stops(lvm: InMemory, client: Client, power: Power) -> None:
    await client.create(lvm.noop, name="a", on_reboot=Policy.DESTROY)
    domain = await client.stop("a", power=power)
    assert domain.exit is not None
    assert domain.state is State.EXITED
    assert domain.exit.reason is ExitReason(power)


async def test_a_deaf_guest_is_a_time_out_and_runs_on(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    await client.create(lvm.misbehave, name="a", cmdline="deaf")
    begun = trio.current_time()
    with pytest.raises(TimedOut, match="does not hear"):
        await client.stop("a", timeout_ms=3000)
    assert trio.current_time() - begun == pytest.approx(3, abs=0.5)
    assert (await client.info("a")).state is State.RUNNING


async def test_a_guest_that_only_says_yes_is_a_time_out_that_says_so(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    await client.create(lvm.misbehave, name="a", cmdline="yes")
    with pytest.raises(TimedOut, match="has heard"):
        await client.stop("a")


async def test_force_destroys_a_deaf_guest(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    await client.create(lvm.misbehave, name="a", cmdline="deaf")
    domain = await client.stop("a", force=True)
    assert domain.exit is not None
    assert domain.exit.reason is ExitReason.DESTROYED
    with pytest.raises(NoSuchDomain):
        await client.info("a")


async def test_who_is_paused_or_gone_cannot_be_asked(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="a", paused=True)
    with pytest.raises(NotPossibleNow, match="paused"):
        await client.stop("a")
    await client.unpause("a")
    await client.stop("a")
    with pytest.raises(NotPossibleNow, match="exited"):
        await client.stop("a")


async def test_a_paused_domain_can_be_forced(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="a", paused=True)
    assert (await client.stop("a", force=True)).state is State.EXITED
    assert not await client.list(all=True)


async def test_a_restarted_domain_is_another_with_the_same_name(
    lvm: InMemory, client: Client
) -> None:
    before = (await client.create(lvm.noop, name="a", cmdline="x y", metadata=b"m")).domain
    after = (await client.restart("a")).domain
    assert (after.name, after.cmdline, after.restarts) == ("a", "x y", 1)
    assert after.uuid != before.uuid
    assert [domain.uuid for domain in await client.list(all=True)] == [after.uuid]


async def test_an_exited_domain_can_be_restarted(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="a")
    await client.wait("a", WaitFor.EXITED)
    assert (await client.restart("a")).domain.name == "a"


async def test_a_restart_that_times_out_changes_nothing(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    before = (await client.create(lvm.misbehave, name="a", cmdline="deaf")).domain
    with pytest.raises(TimedOut):
        await client.restart("a", timeout_ms=1000)
    assert (await client.info("a")).uuid == before.uuid
    after = (await client.restart("a", timeout_ms=1000, force=True)).domain
    assert after.uuid != before.uuid


async def test_a_reboot_is_a_restart_unless_told_otherwise(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    before = (await client.create(lvm.noop, name="a")).domain
    await client.stop("a", power=Power.REBOOT)
    await wait_for_another(client, "a", before.uuid)
    await client.create(lvm.noop, name="b", on_reboot=Policy.DESTROY)
    await client.stop("b", power=Power.REBOOT)
    await trio.sleep(100)
    assert [domain.name for domain in await client.list()] == ["a"]


async def test_what_keeps_ending_is_restarted_later_and_later(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    await client.create(lvm.hello, name="a", on_poweroff=Policy.RESTART)
    await trio.sleep(100)
    prepared = sum(pool.hits + pool.misses for pool in await client.pool_status())
    assert 5 <= prepared <= 12
    await client.destroy("a")
    await trio.sleep(100)
    assert not await client.list(all=True)


async def test_a_crash_is_preserved_until_it_is_destroyed(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    created = await client.create(
        lvm.misbehave, name="a", cmdline="crash", on_crash=Policy.PRESERVE
    )
    await client.wait("a", WaitFor.EXITED)
    await trio.sleep(10_000)
    assert created.domain.domid in lvm.hypervisor.domains
    assert (await client.info("a")).exit is not None
    assert all(finding.verdict == "ok" for finding in await client.doctor())
    await client.destroy("a", wait=True)
    assert created.domain.domid not in lvm.hypervisor.domains


# Console input


async def test_what_is_written_reaches_the_guest(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="a", cmdline="echo")
    await client.console_write("a", b"first\nsec")
    await client.console_write("a", b"ond\nquit\n")
    await client.wait("a", WaitFor.EXITED)
    assert (await client.console_read("a")).data.endswith(b"first\nsecond\n")


async def test_a_guest_that_does_not_read_is_a_time_out(
    lvm: InMemory, client: Client, autojump_clock: MockClock
) -> None:
    await client.create(lvm.noop, name="a")
    await client.console_write("a", bytes(1024))
    with pytest.raises(TimedOut, match="10 bytes"):
        await client.console_write("a", bytes(10))


async def test_one_writer_and_any_number_of_readers(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="a", cmdline="echo")
    async with client.follow_console("a", attach=True) as mine:
        writer = (await anext(mine)).writer
        assert writer is not None
        async with client.follow_console("a") as looking:
            assert (await anext(looking)).writer is None
        for word in (None, "other"):
            with pytest.raises(NotPossibleNow):
                await client.console_write("a", b"x\n", word)
        with pytest.raises(NotPossibleNow):
            async with client.follow_console("a", attach=True) as other:
                await anext(other)
        await client.console_write("a", b"x\n", writer)
    while True:
        try:
            await client.console_write("a", b"y\n")
            break
        except NotPossibleNow:
            await trio.sleep(0.01)  # the daemon has not seen the hang-up yet


async def test_who_has_exited_reads_nothing(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="a")
    await client.wait("a", WaitFor.EXITED)
    with pytest.raises(NotPossibleNow):
        await client.console_write("a", b"x")


async def test_the_heart_is_seen_while_it_lives(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="a")
    assert (await client.info("a")).heartbeat == 0
    await client.create(lvm.hello, name="b", on_poweroff=Policy.PRESERVE)
    await client.wait("b", WaitFor.EXITED)
    assert (await client.info("b")).heartbeat is None  # though its page is still there
