"""Creates that are ready before they are asked for: who gets them, and what is left of that."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from lightvm.client import Client
from lightvm.daemon.express import Met
from lightvm.daemon.journal import read_journal
from lightvm.model import CreateRequest, Source, State, WaitFor
from lightvm.testing import InMemory
from lightvm.xen.fake_domain import FakeDomain
from lightvm.xen.hypervisor import Handle
from tests.cancel.leftovers import assert_nothing_left
from tests.unit.daemon.express.quick import (
    LAN,
    READY,
    Quick,
    ask,
    ask_often,
    decode,
    encode,
    is_on_offer,
)
from tests.waits import settle, until


async def test_what_is_asked_for_often_is_there_at_once(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, nets=(LAN,), wait=READY, cmdline='say "created":1')
    await ask_often(lvm, client, request)
    pool = lvm.service.pools["net"]
    shell, hits = pool.shells[-1], pool.hits
    with monkeypatch.context() as patched:
        patched.setattr(lvm.service.creator, "begin", None)
        assert quick.ask(request) == Met(here=False, alone=True, unsent=b"")
    created = quick.hear()
    domain = created.domain
    assert (created.source, domain.state) == (Source.POOL, State.READY)
    assert (domain.uuid, domain.domid) == (shell.dashed, shell.handle.domid)
    assert (domain.cmdline, domain.vifs) == (request.cmdline, shell.vifs)
    phases = created.phases
    assert phases.ready_us is not None
    assert (
        0
        <= phases.load_us + phases.journal_us + phases.unpause_us + phases.ready_us
        <= phases.total_us
    )
    assert domain.ready is not None
    assert domain.created <= domain.ready
    assert (await client.info(domain.name)) == await client.info(domain.uuid)
    seen = await client.info(domain.name)
    assert (seen.created, seen.ready, seen.vifs) == (domain.created, domain.ready, domain.vifs)
    past = read_journal(Path(lvm.service.config.daemon.state_dir) / "journal")
    assert past.domains[shell.uuid] == lvm.service.registry.find(domain.uuid).record
    assert (pool.hits, pool.instant) == (hits + 1, 1)
    assert shell not in pool.shells
    await client.destroy(domain.uuid)
    await assert_nothing_left(lvm)


async def test_each_time_there_is_another(lvm: InMemory, client: Client, quick: Quick) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    made = []
    for _ in range(2):
        assert is_on_offer(quick, request)
        made.append(quick.hear().domain)
        await settle(0.01)  # its guest has said something
    assert len({d.uuid for d in made} | {d.name for d in made}) == 4
    assert {d.uuid for d in await client.list()} == {d.uuid for d in made}


async def test_who_connects_and_asks_at_once_is_served_at_once(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    monkeypatch.setattr(lvm.service.creator, "begin", None)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(lvm.socket)
        caller.send(encode(request))
        caller.setblocking(False)
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(caller)
        assert decode(caller.recv(65536)).domain.state is State.READY


async def test_who_takes_his_time_is_served_at_once(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    monkeypatch.setattr(lvm.service.creator, "begin", None)
    async with await trio.open_unix_socket(lvm.socket) as stream:
        for _ in range(2):
            await settle(3)
            await stream.send_all(encode(request))
            with trio.fail_after(5):
                assert decode(await stream.receive_some()).domain.state is State.READY


async def test_a_guest_that_is_not_quick_is_waited_for(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    guests, late = lvm.hypervisor._guests, []
    run = guests.run
    monkeypatch.setattr(guests, "run", late.append)
    monkeypatch.setattr(lvm.service.creator, "begin", None)
    answers = []

    async def call() -> None:
        answers.append(await ask(lvm, encode(request)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await until(lambda: late)
        await settle(1)
        (domain,) = await client.list()
        assert (domain.state, answers) == (State.RUNNING, [])
        time.sleep(0.02)  # noqa: ASYNC251 (the clock of the daemon, not that of the loop)
        run(late[0])
    assert answers[0].domain.uuid == domain.uuid
    assert answers[0].domain.state is State.READY
    assert answers[0].phases.ready_us >= 20_000
    assert answers[0].phases.total_us >= 20_000


async def test_how_long_a_guest_takes_is_noted(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    noted: list[int | None] = []

    def note(*, quick: bool, took_ns: int | None = None) -> None:
        assert quick
        noted.append(took_ns)

    monkeypatch.setattr(lvm.service.creator.spinner, "note", note)
    assert quick.ask(request).unsent == b""
    created = quick.hear()
    (took_ns,) = noted
    assert took_ns is not None
    assert took_ns // 1000 == pytest.approx(created.phases.ready_us, abs=1)


async def test_the_event_of_a_guest_that_was_heard_by_it_is_nobody_else(
    lvm: InMemory, client: Client, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls next would not count as alone, and a late guest of his would not be waited for.

    Nor does it count as one that was quick.
    """
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    guests, spinner = lvm.hypervisor._guests, lvm.service.creator.spinner
    run, spin, late = guests.run, lvm.hypervisor.spin_control, []

    def look(handle: Handle, microseconds: int) -> int:
        heard = spin(handle, microseconds)
        if late:
            run(late.pop())  # after the first look
        return heard

    monkeypatch.setattr(guests, "run", late.append)
    monkeypatch.setattr(lvm.hypervisor, "spin_control", look)
    monkeypatch.setattr(spinner, "_misses", spinner.MISSES - 2)
    made = []
    for _ in range(2):
        assert spinner.budget > 0
        assert quick.ask(request) == Met(here=False, alone=True, unsent=b"")
        made.append(quick.hear().domain)
    assert spinner.budget == 0
    for domain in made:
        assert domain.state is State.READY
        assert (await client.info(domain.uuid)).ready == domain.ready


async def test_of_several_at_once_each_was_ready_when_it_was_heard(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the last of them was."""
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    guests, late = lvm.hypervisor._guests, list[FakeDomain]()
    run = guests.run
    monkeypatch.setattr(guests, "run", lambda domain: (run if late else late.append)(domain))
    results = []

    async def call() -> None:
        results.extend(await client.create_many([request] * 3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await until(lambda: late)
        await settle(0.1)
        time.sleep(0.02)  # noqa: ASYNC251 (the clock of the daemon, not that of the loop)
        run(late[0])
    waited = []
    for created in (result.created for result in results):
        assert created is not None
        assert created.domain.ready is not None
        phases = created.phases
        assert phases.ready_us is not None
        took = phases.journal_us + phases.unpause_us + phases.ready_us
        since = (created.domain.ready - created.domain.created) * 1e6
        waited.append(phases.ready_us >= 20_000)
        if not waited[-1]:
            assert took == pytest.approx(since, abs=10)
    assert waited == [True, False, False]


@pytest.mark.parametrize("step", ["load", "unpause"])
async def test_a_shell_that_is_spoilt_is_replaced(
    lvm: InMemory, client: Client, quick: Quick, step: str
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY, nets=(LAN,))
    await ask_often(lvm, client, request)
    shell = lvm.service.pools["net"].shells[-1]
    lvm.hypervisor.fail(step)
    met = quick.ask(request)
    assert (met.here, met.data) == (True, encode(request))
    await settle()
    assert shell.handle.domid not in lvm.hypervisor.domains
    assert shell.uuid not in lvm.service.journal.past.domains
    assert not await client.list()
    await assert_nothing_left(lvm)


async def test_a_reply_that_finds_no_room_is_sent_later(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    with pytest.raises(BlockingIOError):
        while True:
            quick.peer.send(bytes(4096))
    unsent = quick.ask(request).unsent
    assert unsent
    assert [d.uuid for d in await client.list()] == [decode(unsent).domain.uuid]


async def test_a_guest_that_ends_is_seen(lvm: InMemory, client: Client, quick: Quick) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    assert is_on_offer(quick, request)
    domain = quick.hear().domain
    lvm.hypervisor.crash(domain.domid)
    assert (await client.wait(domain.uuid, WaitFor.EXITED)).exit is not None


async def test_who_watches_is_told_of_all_of_it(
    lvm: InMemory, client: Client, quick: Quick
) -> None:
    request = CreateRequest(image=lvm.noop, wait=READY)
    await ask_often(lvm, client, request)
    heard: list[str] = []

    async def listen(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with client.watch() as events:
            task_status.started()
            async for event in events:
                heard.append(event.kind.value)

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        await settle()
        assert is_on_offer(quick, request)
        await until(lambda: len(heard) >= 2)
        nursery.cancel_scope.cancel()
    assert heard[:2] == ["created", "ready"]
