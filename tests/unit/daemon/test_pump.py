"""The pump: no guest keeps dom0 busy, and no failure stops it."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import CapturingLogger

from lightvm.client import Client
from lightvm.daemon.domains import EVENT_BUDGET
from lightvm.daemon.pump import BUDGET_SECONDS, EVENT_COST
from lightvm.errors import HypercallError, OutOfMemory
from lightvm.model import ExitReason, WaitFor
from lightvm.testing import InMemory
from tests.waits import settle

ERRORS = pytest.mark.parametrize("error", [HypercallError("no", "step"), OutOfMemory("none left")])


async def test_a_flood_is_throttled(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.misbehave, name="flood", cmdline="ready flood")
    await settle(1)
    before = lvm.hypervisor.calls["take_console"]
    await settle(10)
    taken = (lvm.hypervisor.calls["take_console"] - before) / 10
    full = 340 * 6  # bytes that a flooding guest has ready each time
    most = (EVENT_BUDGET / (full + EVENT_COST) + 1) / BUDGET_SECONDS
    assert 0.5 * most <= taken <= most


async def test_many_small_writes_are_throttled_too(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="drip")
    before = lvm.hypervisor.calls["take_console"]
    for _ in range(10_000):
        lvm.hypervisor.say(created.domain.domid, b".")
        await trio.sleep(0.0001)
    taken = lvm.hypervisor.calls["take_console"] - before
    assert taken <= (EVENT_BUDGET / EVENT_COST + 2) * (1 / BUDGET_SECONDS + 1)
    await settle()
    assert (await client.console_read("drip")).next == 10_000


async def test_a_guest_that_notifies_for_nothing_is_throttled_too(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="nag", wait=WaitFor.READY)
    guest = lvm.hypervisor.domains[created.domain.domid]
    before = lvm.hypervisor.calls["read_control"]
    for _ in range(10_000):
        lvm.hypervisor._signal(guest, console=False)
        await trio.sleep(0.0001)
    taken = lvm.hypervisor.calls["read_control"] - before
    assert 1 / BUDGET_SECONDS < taken <= (EVENT_BUDGET / EVENT_COST + 2) * (1 / BUDGET_SECONDS + 1)
    lvm.hypervisor.end(guest.domid, ExitReason.POWEROFF, 3)
    domain = await client.wait("nag", timeout_ms=1000)
    assert domain.exit is not None
    assert domain.exit.status == 3


async def test_a_console_that_stays_corrupt_is_told_once(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CapturingLogger()
    monkeypatch.setattr("lightvm.daemon.lifecycle.log", log)
    created = await client.create(lvm.noop, name="liar")
    guest = lvm.hypervisor.domains[created.domain.domid]
    for _ in range(10):
        guest.corrupt = True
        lvm.hypervisor._signal(guest, console=True)
        await settle()
    assert [call.args for call in log.calls] == [("console-corrupt",)]


async def test_a_daemon_with_nothing_to_do_sleeps(lvm: InMemory, client: Client) -> None:
    await settle()
    statistics = trio.lowlevel.current_statistics()
    assert statistics.seconds_to_next_deadline > 0.1


async def test_a_quiet_guest_is_heard_at_once_beside_a_flood(lvm: InMemory, client: Client) -> None:
    for _ in range(3):
        await client.create(lvm.misbehave, cmdline="ready flood")
    created = await client.create(lvm.noop, name="quiet")
    await settle()
    lvm.hypervisor.say(created.domain.domid, b"hello")
    await trio.sleep(0.001)
    assert (await client.console_read("quiet")).data == b"hello"


async def test_a_throttled_guest_that_stops_loses_nothing(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="burst")
    for _ in range(10):
        lvm.hypervisor.say(created.domain.domid, b"x" * 2048)
        await trio.sleep(0.0001)
    await settle()
    assert (await client.console_read("burst")).next == 20_480


async def test_a_throttled_guest_can_be_destroyed(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.misbehave, name="flood", cmdline="flood")
    await settle()
    await client.destroy("flood")
    await settle()
    assert created.domain.domid not in lvm.hypervisor.domains


@ERRORS
@pytest.mark.parametrize("step", ["take_events", "unmask", "read_control", "take_console"])
async def test_a_failure_at_an_event_is_survived(
    lvm: InMemory, client: Client, step: str, error: Exception
) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    await settle()
    domid = created.domain.domid
    lvm.hypervisor.fail(step, error)
    lvm.hypervisor.say(domid, b"one")
    lvm.hypervisor._signal(lvm.hypervisor.domains[domid], console=False)
    await settle()
    lvm.hypervisor.say(domid, b"two")
    await settle()
    data = (await client.console_read("web")).data
    assert data == (b"onetwo" if step != "unmask" else data)
    assert (await client.create(lvm.noop, wait=WaitFor.READY)).domain.ready is not None


async def test_an_event_of_a_killed_domain_is_survived(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    lvm.hypervisor.say(created.domain.domid, b"last words")
    lvm.hypervisor.kill(created.domain.domid)
    await client.wait("web")
    await client.create(lvm.noop, wait=WaitFor.READY)


async def test_the_events_of_shells_are_nobody_s(lvm: InMemory, client: Client) -> None:
    await settle()
    assert not lvm.service.lifecycle.routes
    assert not lvm.hypervisor._pending
    assert not any(lvm.hypervisor._masked.values())
