"""A host with a service of its configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from lightvm.testing import InMemory
from tests.host import Host
from tests.unit.daemon.jit.changes import make_config


@pytest.fixture
def host(tmp_path: Path, threadless: None, autojump_clock: MockClock) -> Host:
    return Host(tmp_path, make_config(tmp_path))


@pytest.fixture
async def lvm(host: Host) -> AsyncIterator[InMemory]:
    """A daemon with a service of its configuration."""
    async with host.daemon() as (lvm, _):
        yield lvm
