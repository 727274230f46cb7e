"""A daemon whose pools are full, and a quick client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lightvm.testing import InMemory
from tests.unit.daemon.express.quick import Quick
from tests.unit.daemon.samples import serve_with_devices


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory with a network, its pools full."""
    async with serve_with_devices(tmp_path) as served:
        yield served


@pytest.fixture
def quick(lvm: InMemory) -> Iterator[Quick]:
    quick = Quick(lvm)
    with quick.ours, quick.peer:
        yield quick
