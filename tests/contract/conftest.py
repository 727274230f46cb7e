"""One suite for every implementation of the seam; the real one needs a Xen dom0::

pytest tests/contract                       # over the fake
pytest tests/contract --hypervisor=xen      # over Xen, as root in dom0
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from tests.contract.counter import Counter
from tests.contract.rig import Rig, open_fake, open_xen


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller choose what stands behind the seam."""
    parser.addoption("--hypervisor", choices=("fake", "xen"), default="fake")


@pytest.fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A hypervisor and guests for it; whatever a test makes is destroyed after it."""
    kind = request.config.getoption("--hypervisor", default="fake")
    rig = open_xen(tmp_path) if kind == "xen" else open_fake(tmp_path)
    try:
        yield rig
    finally:
        with trio.CancelScope(shield=True):
            await rig.aclose()


@pytest.fixture
def counter(rig: Rig, tmp_path: Path) -> Iterator[Counter]:
    """Clients, and where they are heard."""
    counter = Counter(rig, tmp_path)
    yield counter
    counter.close()
