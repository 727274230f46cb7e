"""Creating domains: where from, under which name, and what is waited for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from lightvm import errors
from lightvm.client import Client, open_client
from lightvm.daemon import understanding
from lightvm.model import CreateRequest, Source, State, WaitFor
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.elf import make_kernel
from tests.unit.daemon.samples import with_limits
from tests.waits import settle, until


async def test_a_create_takes_a_shell_from_the_pool(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", cmdline="a b")
    assert created.source is Source.POOL
    assert created.phases.prepare_us == 0
    assert created.phases.ready_us is None
    domain = created.domain
    assert (domain.name, domain.flavor, domain.image) == ("web", "tiny", lvm.noop)
    assert (domain.cmdline, domain.memory_kib, domain.vcpus) == ("a b", 4096, 1)
    assert domain.state is State.RUNNING
    assert lvm.hypervisor.domains[domain.domid].started


@pytest.mark.parametrize("memory", [None, 8192], ids=["pool", "cold"])
async def test_the_phases_of_a_create_add_up(
    lvm: InMemory, client: Client, memory: int | None
) -> None:
    created = await client.create(lvm.noop, memory_kib=memory, wait=WaitFor.READY)
    phases = created.phases
    parts = [phases.prepare_us, phases.load_us, phases.journal_us, phases.unpause_us]
    assert phases.ready_us is not None
    assert all(part >= 0 for part in [*parts, phases.ready_us])
    assert 0 < sum(parts) + phases.ready_us <= phases.total_us
    assert (phases.prepare_us > 0) == (memory is not None)


async def test_a_shape_that_no_flavor_has_is_made_cold(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, memory_kib=8192, vcpus=2)
    assert created.source is Source.COLD
    assert (created.domain.memory_kib, created.domain.vcpus) == (8192, 2)
    assert created.domain.flavor == ""


async def test_an_empty_pool_falls_back_to_cold(lvm: InMemory, client: Client) -> None:
    results = await client.create_many([CreateRequest(image=lvm.noop)] * 6)
    sources = [result.created.source for result in results if result.created is not None]
    assert sources == [Source.POOL] * 4 + [Source.COLD] * 2
    assert (await client.pool_status())[0].misses == 2


async def test_a_paused_domain_does_not_run_until_it_is_unpaused(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, paused=True)
    assert created.domain.state is State.PAUSED
    await settle()
    assert not lvm.hypervisor.domains[created.domain.domid].started
    await client.unpause(created.domain.name)
    assert (await client.wait(created.domain.name, WaitFor.READY)).state is State.READY


async def test_a_large_image_widens_the_window_of_the_shells_to_come(
    lvm: InMemory, client: Client
) -> None:
    path = lvm.images / "large"
    path.write_bytes(make_kernel(size=1 << 20))
    await client.create(str(path))
    shape = lvm.service.pools["tiny"].shape
    assert shape.window_kib * 1024 >= 0x10000 + (1 << 20)


async def test_waiting_for_ready_returns_a_ready_domain(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, wait=WaitFor.READY)
    assert created.domain.state is State.READY
    assert created.domain.ready is not None
    assert created.phases.ready_us is not None


async def test_a_quick_guest_is_heard_without_waiting_for_its_event(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvm.hypervisor, "_signal", lambda domain, *, console: None)
    created = await client.create(lvm.noop, wait=WaitFor.READY)
    assert created.domain.state is State.READY


async def test_a_guest_that_is_late_is_waited_for(lvm: InMemory, client: Client) -> None:
    # A guest that loops never says anything by itself; here it does after a while.
    async def speak() -> None:
        await until(lambda: lvm.service.registry.live)
        await trio.sleep(2)
        (domain,) = lvm.service.registry.live.values()
        lvm.hypervisor._guests.ready(lvm.hypervisor.domains[domain.record.domid])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        created = await client.create(lvm.misbehave, cmdline="loop", wait=WaitFor.READY)
    assert created.domain.state is State.READY


async def test_a_guest_that_does_not_become_ready_is_left_running(
    lvm: InMemory, client: Client
) -> None:
    begun = trio.current_time()
    with pytest.raises(errors.TimedOut) as caught:
        await client.create(
            lvm.misbehave, name="web", cmdline="loop", wait=WaitFor.READY, timeout_ms=1500
        )
    assert trio.current_time() - begun == pytest.approx(1.5, abs=0.1)
    assert caught.value.where == "web"
    assert (await client.info("web")).state is State.RUNNING


async def test_without_a_timeout_the_daemon_s_own_limit_holds(
    lvm: InMemory, client: Client
) -> None:
    begun = trio.current_time()
    with pytest.raises(errors.TimedOut):
        await client.create(lvm.misbehave, cmdline="loop", wait=WaitFor.READY)
    assert trio.current_time() - begun == pytest.approx(5.0, abs=0.1)


async def test_a_shell_that_somebody_destroyed_costs_nobody_a_create(
    lvm: InMemory, client: Client
) -> None:
    shells = lvm.service.pools["tiny"].shells
    for shell in list(shells)[1:]:
        lvm.hypervisor.kill(shell.handle.domid)
    created = await client.create(lvm.noop, wait=WaitFor.READY)
    assert created.source is Source.POOL
    assert (await client.create(lvm.noop, wait=WaitFor.READY)).domain.ready is not None
    await settle()
    assert lvm.service.pools["tiny"].discarded == 3


async def test_with_all_shells_destroyed_a_create_is_cold(lvm: InMemory, client: Client) -> None:
    for shell in lvm.service.pools["tiny"].shells:
        lvm.hypervisor.kill(shell.handle.domid)
    created = await client.create(lvm.noop, wait=WaitFor.READY)
    assert created.source is Source.COLD


async def test_shells_that_somebody_destroyed_are_replaced(lvm: InMemory, client: Client) -> None:
    pool = lvm.service.pools["tiny"]
    for shell in pool.shells:
        lvm.hypervisor.kill(shell.handle.domid)
    await settle(10)
    assert (len(pool.shells), pool.discarded) == (4, 4)
    assert {shell.handle.domid for shell in pool.shells} == set(lvm.hypervisor.domains)


@pytest.mark.parametrize("cmdline", ["crash", "triple-fault", "shutdown", "", "control crash"])
async def test_a_guest_that_ends_before_it_is_ready_is_told(
    lvm: InMemory, client: Client, cmdline: str
) -> None:
    with pytest.raises(errors.GuestExited):
        await client.create(lvm.misbehave, name="web", cmdline=cmdline, wait=WaitFor.READY)
    (domain,) = await client.list(all=True)
    assert domain.state is State.EXITED


async def test_a_guest_that_is_ready_and_ends_at_once_was_ready(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.hello, cmdline="status=3", wait=WaitFor.READY)
    assert created.domain.ready is not None
    assert created.domain.exit is not None
    assert created.domain.exit.status == 3


async def test_a_guest_that_talks_nonsense_is_not_taken_for_ready(
    lvm: InMemory, client: Client
) -> None:
    with pytest.raises(errors.TimedOut):
        await client.create(lvm.misbehave, cmdline="control", wait=WaitFor.READY)
    assert (await client.list())[0].state is State.RUNNING


async def test_a_name_is_taken_once(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web")
    with pytest.raises(errors.NameTaken) as caught:
        await client.create(lvm.noop, name="web")
    assert caught.value.where == "web"
    assert len(await client.list()) == 1


async def test_a_name_is_taken_while_its_domain_is_being_made(
    lvm: InMemory, client: Client
) -> None:
    go_on = lvm.hypervisor.hang("prepare")
    async with trio.open_nursery() as nursery:

        async def create() -> None:
            await client.create(lvm.noop, name="web", memory_kib=8192)

        nursery.start_soon(create)
        await settle(1)
        with pytest.raises(errors.NameTaken):
            await create()
        go_on.set()
    assert len(await client.list()) == 1


@pytest.mark.parametrize("end", ["destroy", "crash"])
async def test_a_name_is_free_when_its_domain_has_ended(
    lvm: InMemory, client: Client, end: str
) -> None:
    created = await client.create(lvm.noop, name="web")
    if end == "destroy":
        await client.destroy("web")
    else:
        lvm.hypervisor.crash(created.domain.domid)
        await client.wait("web")
    again = await client.create(lvm.noop, name="web")
    assert (await client.info("web")).uuid == again.domain.uuid


async def test_a_bad_image_costs_no_shell(lvm: InMemory, client: Client) -> None:
    path = lvm.images / "bad"
    path.write_bytes(b"rubbish")
    with pytest.raises(errors.BadImage) as caught:
        await client.create(str(path), name="web")
    assert caught.value.where is not None
    assert str(path) in caught.value.where
    assert lvm.service.pools.count() == 4
    await client.create(lvm.noop, name="web")


async def test_a_cold_create_that_takes_too_long_is_timed_out_and_leaves_nothing(
    tmp_path: Path, threadless: None
) -> None:
    config = with_limits(default_config(tmp_path), create_seconds=3.0)
    async with serve_in_memory(tmp_path, config=config) as lvm, open_client(lvm.socket) as client:
        await until(lambda: lvm.service.pools.count() == 4)
        go_on = lvm.hypervisor.hang("prepare")
        async with trio.open_nursery() as nursery:

            async def create() -> None:
                with pytest.raises(errors.TimedOut, match="nothing was created"):
                    await client.create(lvm.noop, name="web", memory_kib=8192)

            nursery.start_soon(create)
            await settle(10)
            go_on.set()
        assert len(lvm.hypervisor.domains) == 4
        assert await client.list(all=True) == ()


async def test_of_many_the_good_are_made_and_the_bad_are_told(
    lvm: InMemory, client: Client
) -> None:
    requests = [
        CreateRequest(image=lvm.noop, name="a"),
        CreateRequest(image=lvm.noop, name="a"),
        CreateRequest(image="relative"),
        CreateRequest(image=lvm.noop, name="b"),
    ]
    results = await client.create_many(requests)
    assert [result.index for result in results] == [0, 1, 2, 3]
    codes = [result.failure and result.failure.code for result in results]
    assert codes == [None, "name-taken", "bad-request", None]
    async with client.iter_create_many(requests) as streamed:
        seen = [result.index async for result in streamed]
    assert seen == [0, 1, 2, 3]


async def test_none_at_all_are_made_of_no_requests(client: Client) -> None:
    assert await client.create_many([]) == ()


async def test_too_many_at_once_are_refused(tmp_path: Path, threadless: None) -> None:
    config = with_limits(default_config(tmp_path), batch=3)
    async with serve_in_memory(tmp_path, config=config) as lvm, open_client(lvm.socket) as client:
        assert len(await client.create_many([CreateRequest(image=lvm.noop)] * 3)) == 3
        with pytest.raises(errors.BadRequest) as caught:
            await client.create_many([CreateRequest(image=lvm.noop)] * 4)
        assert caught.value.where == "requests"
        assert len(await client.list()) == 3


# What is remembered of the last request


async def test_the_same_request_again_takes_the_image_as_it_is_now(
    lvm: InMemory, client: Client
) -> None:
    first = await client.create(lvm.noop)
    Path(lvm.noop).write_bytes(make_kernel(size=8192))
    second = await client.create(lvm.noop)
    boots = [lvm.hypervisor.domains[each.domain.domid].boot for each in (first, second)]
    assert boots[0] is not None
    assert boots[1] is not None
    assert boots[0].image.segments != boots[1].image.segments
    Path(lvm.noop).unlink()
    with pytest.raises(errors.BadImage):
        await client.create(lvm.noop)
    assert len(await client.list()) == 2


async def test_an_image_that_another_request_has_read_anew_is_taken(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.noop)
    Path(lvm.noop).write_bytes(make_kernel(size=8192))
    with pytest.raises(errors.NoSuchFlavor):
        await client.create(lvm.noop, flavor="none")
    again = (await client.create(lvm.noop)).domain
    boot = lvm.hypervisor.domains[again.domid].boot
    assert boot is not None
    assert boot.image.end == 0x10000 + 8192


async def test_the_same_request_again_is_not_checked_again(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    monkeypatch.setattr(understanding, "check_request", checked.append)
    for cmdline in ("a", "a", "b", "b", "b", "a"):
        await client.create(lvm.noop, cmdline=cmdline)
    assert [request.cmdline for request in checked] == ["a", "b", "a"]


async def test_a_wrong_request_is_refused_each_time(lvm: InMemory, client: Client) -> None:
    for _ in range(2):
        await client.create(lvm.noop)
        for _ in range(2):
            with pytest.raises(errors.BadRequest, match="multiple of 4"):
                await client.create(lvm.noop, memory_kib=4097)


async def test_requests_that_differ_in_one_thing_are_not_mixed_up(
    lvm: InMemory, client: Client
) -> None:
    create = partial(client.create, lvm.noop)
    wanted = [
        (partial(create, name="a", cmdline="x"), ("a", "x", 4096, State.RUNNING)),
        (partial(create, name="b", cmdline="x"), ("b", "x", 4096, State.RUNNING)),
        (partial(create, name="b", cmdline="y"), ("b", "y", 4096, State.RUNNING)),
        (partial(create, name="b", memory_kib=8192), ("b", "", 8192, State.RUNNING)),
        (partial(create, name="b", paused=True), ("b", "", 4096, State.PAUSED)),
    ]
    for make, expected in wanted * 2:
        domain = (await make()).domain
        assert (domain.name, domain.cmdline, domain.memory_kib, domain.state) == expected
        await client.destroy(domain.uuid)
