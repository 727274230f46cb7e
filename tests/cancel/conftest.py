"""Fixtures of the fault and cancellation tests, which run under a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lightvm.client import Client, open_client
from lightvm.testing import InMemory, serve_in_memory
from tests.cancel.actions import config_for, is_full
from tests.cancel.threads import Threads
from tests.quick import make_quick
from tests.waits import until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no wait cost real time."""
    make_quick(items, Path(__file__).parent)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Do what would be done in a worker thread at once, or as late as a test wants it."""
    threads = Threads()
    monkeypatch.setattr(trio.to_thread, "run_sync", threads.run_sync)
    return threads


@pytest.fixture
async def lvm(
    request: pytest.FixtureRequest, tmp_path: Path, threads: Threads
) -> AsyncIterator[InMemory]:
    """A daemon in memory for the action that is tested, its pool full."""
    callspec = getattr(request.node, "callspec", None)
    action = None if callspec is None else callspec.params.get("action")
    async with serve_in_memory(tmp_path, config=config_for(action, tmp_path)) as served:
        await until(lambda: is_full(served))
        yield served


@pytest.fixture
async def client(lvm: InMemory) -> AsyncIterator[Client]:
    """A client of `lvm`."""
    async with open_client(lvm.socket) as client:
        yield client
