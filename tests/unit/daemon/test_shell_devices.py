"""Shells with devices: made and given back, whatever fails."""

from __future__ import annotations

import pytest

from lightvm.daemon.config import Config
from lightvm.daemon.shell_maker import Shell
from lightvm.errors import HypercallError, StoreFailed
from tests.unit.daemon.bench import Bench, Open
from tests.unit.daemon.samples import make_config, with_devices
from tests.waits import settle

CONFIG: Config = with_devices(make_config())


async def make(bench: Bench) -> Shell:
    return await bench.maker.make("both", bench.pools["both"].shape, ("lan",))


async def test_a_shell_knows_its_networks_and_loop_devices(bench: Open, threadless: None) -> None:
    async with bench(CONFIG) as b:
        shell = await make(b)
        assert shell.networks == ("lan",)
        assert len(shell.loops) == 1
        await b.maker.discard(shell)


async def test_a_shell_whose_devices_cannot_be_removed_is_gone_all_the_same(
    bench: Open, threadless: None
) -> None:
    async with bench(CONFIG) as b:
        await settle()
        shell = await make(b)
        b.store.broken = True
        with pytest.raises(StoreFailed):
            await b.maker.discard(shell)
        assert shell.handle.domid not in b.hypervisor.domains
        assert shell.uuid not in b.journal.past.shells
        b.store.broken = False


async def test_a_shell_that_cannot_be_destroyed_keeps_its_devices(
    bench: Open, threadless: None
) -> None:
    async with bench(CONFIG) as b:
        await settle()
        shell = await make(b)
        b.hypervisor.fail("destroy")
        with pytest.raises(HypercallError):
            await b.maker.discard(shell)
        assert shell.uuid in b.journal.past.shells
        assert f"/local/domain/{shell.handle.domid}/lightvm-uuid" in b.store.nodes


async def test_a_store_that_stays_away_fills_neither_xen_nor_the_journal(
    bench: Open, threadless: None
) -> None:
    async with bench(CONFIG) as b:
        await settle()
        b.pools["both"].shells.clear()
        before = len(b.journal.past.shells)
        b.store.broken = True
        b.pools.take(b.pools["both"])
        await settle(60)
        assert b.pools["both"].discarded >= 10
        assert len(b.journal.past.shells) == before
        b.store.broken = False
        await settle(60)
        assert len(b.pools["both"].shells) == 1
