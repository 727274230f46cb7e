"""Fixtures of the daemon's tests, which run under a clock that jumps."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightvm.client import Client, open_client
from lightvm.testing import InMemory, serve_in_memory
from tests.quick import make_quick
from tests.unit.daemon.bench import Open, open_bench
from tests.waits import until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no wait cost real time."""
    make_quick(items, Path(__file__).parent)


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory, its pool full."""
    async with serve_in_memory(tmp_path) as served:
        await until(lambda: served.service.pools.count() == 4)
        yield served


@pytest.fixture
async def client(lvm: InMemory) -> AsyncIterator[Client]:
    """A client of `lvm`."""
    async with open_client(lvm.socket) as client:
        yield client


@pytest.fixture
def bench(tmp_path: Path) -> Open:
    """Return what opens pools at work."""
    return functools.partial(open_bench, tmp_path)
