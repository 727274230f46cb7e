"""Single shells: made and given back, each step written down."""

from __future__ import annotations

import pytest
import trio
from msgspec.structs import replace

from lightvm.daemon.shell_maker import Shell
from lightvm.errors import HypercallError, JournalFailed, OutOfMemory
from lightvm.model import Mode
from tests.unit.daemon.bench import TINY, Open
from tests.unit.daemon.samples import make_config
from tests.waits import settle, until


async def test_a_drain_gives_all_shells_back(bench: Open) -> None:
    async with bench() as b:
        await settle()
        await b.pools.drain()
        assert not b.hypervisor.domains
        assert not b.pools.uuids
        assert b.agree()


async def test_a_drain_ends_all_domains_before_any_devices_are_removed(
    bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    flavor = replace(TINY, mode=Mode.XENSTORE)
    async with bench(make_config(tiny=flavor)) as b:
        await until(lambda: len(b.tiny.shells) == TINY.high)
        left = dict[str, int]()
        disconnect = b.maker._devices.disconnect

        async def disconnect_noted(domid: int, uuid: str) -> None:
            left[uuid] = len(b.hypervisor.domains)
            await disconnect(domid, uuid)

        monkeypatch.setattr(b.maker._devices, "disconnect", disconnect_noted)
        there = b.pools.uuids
        await b.pools.drain()
        assert left == dict.fromkeys(there, 0)


@pytest.mark.parametrize("step", ["release", "destroy"])
@pytest.mark.parametrize("error", [HypercallError("no"), OutOfMemory("none left")])
async def test_a_drain_goes_on_after_a_failure_and_the_journal_keeps_the_shell(
    bench: Open, step: str, error: Exception
) -> None:
    async with bench() as b:
        await settle()
        b.hypervisor.fail(step, error)
        await b.pools.drain()
        assert len(b.hypervisor.domains) == 1
        left = next(iter(b.hypervisor.domains.values()))
        assert list(b.journal.past.shells) == [left.uuid.hex()]


async def test_a_shell_in_work_is_known_as_such(bench: Open) -> None:
    async with bench() as b:
        await settle()
        go_on = b.hypervisor.hang("prepare")
        made: list[Shell] = []

        async def make() -> None:
            made.append(await b.maker.make("tiny", b.tiny.shape))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make)
            await until(lambda: b.maker.in_work)
            (uuid,) = b.maker.in_work
            assert b.pools.in_work(uuid)
            assert uuid in b.journal.past.shells
            go_on.set()
        assert made[0].uuid == uuid
        assert not b.pools.in_work(uuid)


async def test_a_shell_that_could_not_be_journalled_is_not_made(
    bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench() as b:
        await settle()

        def refuse(record: object) -> None:
            raise JournalFailed("full")

        monkeypatch.setattr(b.journal, "append", refuse)
        with pytest.raises(JournalFailed):
            await b.maker.make("tiny", b.tiny.shape)
        assert len(b.hypervisor.domains) == 5
