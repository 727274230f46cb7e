"""A daemon whose pools are full, and a quick client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.unit.daemon.express.quick import Quick
from tests.unit.daemon.samples import with_devices
from tests.waits import until


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory with a network, its pools full."""
    config = with_devices(default_config(tmp_path))
    async with serve_in_memory(tmp_path, config=config) as served:
        await until(lambda: not any(pool.filling for pool in served.service.pools))
        yield served


@pytest.fixture
def quick(lvm: InMemory) -> Iterator[Quick]:
    quick = Quick(lvm)
    with quick.ours, quick.peer:
        yield quick
