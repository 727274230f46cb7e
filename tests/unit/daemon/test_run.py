"""Starting and stopping: in which order, and what stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lightvm import errors
from lightvm.client import open_client
from lightvm.daemon.devices import Dom0
from lightvm.daemon.journal import read_journal
from lightvm.daemon.listen import open_listeners
from lightvm.daemon.run import serve_daemon
from lightvm.model import WaitFor
from lightvm.testing import (
    FakeHypervisor,
    InMemory,
    MemoryFilters,
    MemoryLoops,
    MemoryPorts,
    MemoryStore,
    MemoryWires,
    default_config,
    serve_in_memory,
)
from tests.unit.daemon.raw import call, open_raw
from tests.waits import settle, until

pytestmark = pytest.mark.usefixtures("threadless")


async def test_a_stop_gives_all_shells_back(tmp_path: Path) -> None:
    async with serve_in_memory(tmp_path) as lvm:
        await until(lambda: lvm.service.pools.count() == 4)
    assert not lvm.hypervisor.domains
    assert not read_journal(tmp_path / "state" / "journal").shells


async def test_a_stop_leaves_running_domains_alone(tmp_path: Path) -> None:
    async with serve_in_memory(tmp_path) as lvm, open_client(lvm.socket) as client:
        created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    assert list(lvm.hypervisor.domains) == [created.domain.domid]
    assert not lvm.hypervisor.domains[created.domain.domid].paused
    assert len(read_journal(tmp_path / "state" / "journal").domains) == 1


async def test_a_shell_that_is_being_made_at_the_stop_is_given_back(tmp_path: Path) -> None:
    hypervisor = FakeHypervisor()
    go_on = hypervisor.hang("prepare")
    async with trio.open_nursery() as nursery:

        async def let_go() -> None:
            await trio.sleep(10)
            go_on.set()

        async with serve_in_memory(tmp_path, hypervisor=hypervisor):
            await until(lambda: hypervisor.calls["prepare"])
            nursery.start_soon(let_go)
    assert not hypervisor.domains
    assert not read_journal(tmp_path / "state" / "journal").shells


async def test_a_stop_does_not_wait_for_idle_clients(tmp_path: Path) -> None:
    async with open_stopping(tmp_path) as (lvm, stop):
        async with open_raw(lvm.socket) as raw, open_raw(lvm.socket) as silent:
            await raw.call("Version")
            begun = trio.current_time()
            stop.set()
            await raw.wait_closed()
            await silent.wait_closed()
            assert trio.current_time() - begun < 0.1


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Wait", {"domain": "web", "until": "exited"}),
        ("Console", {"domain": "web", "follow": True}),
        ("Watch", {}),
        ("Create", {"request": {"wait": "ready", "cmdline": "loop"}}),
    ],
)
async def test_those_who_wait_for_long_are_told_of_a_stop_at_once(
    tmp_path: Path, name: str, parameters: dict[str, Any]
) -> None:
    async with open_stopping(tmp_path) as (lvm, stop):
        async with open_client(lvm.socket) as client, open_raw(lvm.socket) as raw:
            await client.create(lvm.noop, name="web")
            if name == "Create":
                parameters["request"]["image"] = lvm.misbehave
            await raw.send(call(name, more=True, **parameters))
            await settle(1)
            begun = trio.current_time()
            stop.set()
            while "error" not in (reply := await raw.receive()):
                pass
            assert reply["error"] == "io.github.lightvm.StoppingNow"
            await raw.wait_closed()
            assert trio.current_time() - begun < 0.1


async def test_a_call_that_comes_during_a_stop_is_refused(tmp_path: Path) -> None:
    async with open_stopping(tmp_path) as (lvm, stop):
        await until(lambda: lvm.service.pools.count() == 4)
        go_on = lvm.hypervisor.hang("prepare")
        async with open_raw(lvm.socket) as raw:
            request = {"image": lvm.noop, "memory_kib": 8192}
            await raw.send(call("Create", request=request), call("Create", request=request))
            await trio.sleep(0.1)
            stop.set()
            go_on.set()
            assert "created" in (await raw.receive())["parameters"]
            assert (await raw.receive())["error"] == "io.github.lightvm.StoppingNow"
            await raw.wait_closed()
    assert len(lvm.hypervisor.domains) == 1


async def test_a_call_in_progress_at_the_stop_is_answered(tmp_path: Path) -> None:
    async with open_stopping(tmp_path) as (lvm, stop):
        await until(lambda: lvm.service.pools.count() == 4)
        go_on = lvm.hypervisor.hang("prepare")
        async with open_raw(lvm.socket) as raw:
            await raw.send(call("Create", request={"image": lvm.noop, "memory_kib": 8192}))
            await trio.sleep(0.1)
            stop.set()
            await trio.sleep(0.1)
            go_on.set()
            assert "created" in (await raw.receive())["parameters"]
    assert len(lvm.hypervisor.domains) == 1


async def test_a_call_that_takes_longer_than_the_drain_is_cut_off_and_undone(
    tmp_path: Path,
) -> None:
    async with open_stopping(tmp_path) as (lvm, stop):
        await until(lambda: lvm.service.pools.count() == 4)
        go_on = lvm.hypervisor.hang("prepare")
        async with open_raw(lvm.socket) as raw:
            await raw.send(call("Create", request={"image": lvm.noop, "memory_kib": 8192}))
            await trio.sleep(0.1)
            stop.set()
            await trio.sleep(10)
            go_on.set()
            assert await raw.wait_closed() == b""
    assert not lvm.hypervisor.domains
    assert not read_journal(tmp_path / "state" / "journal").shells


async def test_a_stop_gives_back_all_that_was_destroyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.daemon.burials.AT_ONCE", 1)
    async with open_stopping(tmp_path) as (lvm, stop):
        await until(lambda: lvm.service.pools.count() == 4)
        destroy = lvm.hypervisor.destroy

        async def destroy_slowly(domid: int) -> None:
            await trio.sleep(0.3)
            await destroy(domid)

        monkeypatch.setattr(lvm.hypervisor, "destroy", destroy_slowly)
        async with open_raw(lvm.socket) as raw:
            for name in ("a", "b", "c", "d"):
                await raw.call("Create", request={"image": lvm.noop, "name": name})
                await raw.call("Destroy", domain=name)
            stop.set()
    assert not lvm.hypervisor.domains
    assert not read_journal(tmp_path / "state" / "journal").domains


async def test_no_connection_is_taken_after_the_stop(tmp_path: Path) -> None:
    async with open_stopping(tmp_path) as (lvm, stop):
        async with open_raw(lvm.socket) as busy:
            await busy.call("Version")
            stop.set()
            await trio.sleep(0.1)
            async with open_raw(lvm.socket) as late:
                await late.send(call("Version"))
                with trio.move_on_after(0.2) as scope:
                    await late.receive()
                assert scope.cancelled_caught


async def test_a_start_that_fails_says_why_and_closes_the_journal(tmp_path: Path) -> None:
    hypervisor = FakeHypervisor()
    hypervisor.fail("list_domains")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with serve_in_memory(tmp_path, hypervisor=hypervisor):
            pass
    assert caught.group_contains(errors.HypercallError)
    async with serve_in_memory(tmp_path, hypervisor=hypervisor) as lvm:
        await until(lambda: lvm.service.pools.count() == 4)


async def test_two_daemons_do_not_share_a_state_directory(tmp_path: Path) -> None:
    async with serve_in_memory(tmp_path):
        with pytest.raises(errors.AlreadyRunning):
            async with serve_in_memory(tmp_path):
                pass


@asynccontextmanager
async def open_stopping(directory: Path) -> AsyncIterator[tuple[InMemory, trio.Event]]:
    """Serve, and let the block stop the daemon itself."""
    config, stop = default_config(directory), trio.Event()
    hypervisor, store, filters = FakeHypervisor(), MemoryStore(), MemoryFilters()
    ports, loops, wires = MemoryPorts(store), MemoryLoops(store), MemoryWires()
    async with serve_in_memory(directory, hypervisor=hypervisor, store=store):
        pass  # for the images
    Path(config.daemon.state_dir).mkdir(exist_ok=True)
    with open_listeners(Path(config.daemon.socket), "") as listeners:
        async with trio.open_nursery() as nursery:
            service = await nursery.start(
                serve_daemon,
                config,
                hypervisor,
                Dom0(store, ports, filters, loops, wires),
                listeners,
                stop,
            )
            lvm = InMemory(
                socket=config.daemon.socket,
                hypervisor=hypervisor,
                store=store,
                ports=ports,
                filters=filters,
                loops=loops,
                wires=wires,
                service=service,
                images=directory,
            )
            yield lvm, stop
            assert stop.is_set()
    await settle()
