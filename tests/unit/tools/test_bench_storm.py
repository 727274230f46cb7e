"""Clients at once, against a daemon in memory."""

from __future__ import annotations

import pytest
import trio
from benchmarks.experiments import storm as storms
from benchmarks.experiments.storm import arrive, storm

import lightvm.testing
from lightvm.model import Source


@pytest.fixture
async def daemon(monkeypatch):
    async with lightvm.testing.serve_in_memory() as served:
        monkeypatch.setattr(storms, "NOOP", served.noop)
        async with lightvm.open_client(served.socket) as client:
            (pool,) = await client.pool_status()
            while (await client.pool_status())[0].shells < pool.high:  # noqa: ASYNC110 (no such event)
                await trio.sleep(0.01)
        yield served


async def test_a_storm_times_every_create(daemon):
    took, seconds = await trio.to_thread.run_sync(storm, daemon.socket, 2, 3)
    assert len(took) == 3
    assert 0 < max(took) <= 1e3 * seconds


async def test_a_storm_that_empties_the_pool_is_none(daemon):
    with pytest.raises(RuntimeError, match="cold"):
        await trio.to_thread.run_sync(storm, daemon.socket, 4, 100)


async def test_arrivals_say_where_each_domain_came_from_and_end_it(daemon, monkeypatch):
    monkeypatch.setattr(storms, "RATE", 1000.0)
    outcomes = await arrive(daemon.socket, 12)
    assert len(outcomes) == 12
    assert {source for source, _ in outcomes} <= {Source.POOL, Source.COLD}
    async with lightvm.open_client(daemon.socket) as client:
        assert not await client.list()
