"""The lab as a pytest fixture.

`lab` is one Xen host for the whole session, started from the snapshot and ended with the session.
When a test that uses it fails, the lab's logs are saved and the report says where.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from .cache import cache_root
from .lab import Lab
from .suites import DEFAULT_SUITE, SUITES

RUNNING = pytest.StashKey[Lab]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the lab."""
    group = parser.getgroup("lab")
    group.addoption("--lab-suite", choices=tuple(SUITES), default=DEFAULT_SUITE)
    group.addoption("--lab-name", help="use this running lab, and leave it running")
    group.addoption("--lab-artifacts", type=Path, help="where the logs of failures are saved")


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """Return a running Xen host; every test of the session shares it."""
    name = pytestconfig.getoption("--lab-name")
    if name:
        found = Lab.find(name)
        pytestconfig.stash[RUNNING] = found
        yield found
        return
    suite: str = pytestconfig.getoption("--lab-suite")
    with Lab(f"test-{os.getpid()}", suite=suite) as started:
        pytestconfig.stash[RUNNING] = started
        yield started
        del pytestconfig.stash[RUNNING]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport | pytest.CollectReport, None]:
    """Save the lab's logs when a test that used it has failed."""
    outcome = yield
    report = outcome.get_result()
    running = item.config.stash.get(RUNNING, None)
    if running is None or not report.failed or "lab" not in getattr(item, "fixturenames", ()):
        return
    target = artifacts_directory(item.config) / re.sub(r"[^\w.-]+", "_", item.nodeid)
    missing = running.collect(target)
    report.sections.append(("lab", "\n".join([f"logs are in {target}", *missing])))


def artifacts_directory(config: pytest.Config) -> Path:
    """Return where this session's artifacts go."""
    chosen: Path | None = config.getoption("--lab-artifacts")
    if chosen is not None:
        return chosen.absolute()
    started = time.strftime("%Y%m%d-%H%M%S", time.localtime(SESSION_START))
    return cache_root() / "artifacts" / f"{started}-{os.getpid()}"


SESSION_START = time.time()
