"""Fixtures of the tests on real Xen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lightvm.blocking import Client
from tests.lab.daemon import Counted, DaemonProcess, assert_nothing_leaked, beside, eventually
from tests.lab.emulator import run_test
from tests.lab.network import BRIDGE, HELD, NETWORK


def in_dom0() -> bool:
    """Whether this is a dom0 of Xen."""
    return Path("/proc/xen/capabilities").exists()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no Xen: these tests are for a dom0."""
    if in_dom0():
        return
    skip = pytest.mark.skip(reason="not in a Xen dom0: run tools/test lab")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test again that has failed because the emulator has lost a guest."""
    if not item.path.is_relative_to(Path(__file__).parent) or not in_dom0():
        return None
    run_test(item, nextitem)
    return True


@pytest.fixture(scope="session", autouse=True)
def patient_neighbours() -> None:
    """Let this host ask for an address twenty times, and not three: emulated guests answer late where much goes on."""
    if in_dom0():
        Path("/proc/sys/net/ipv4/neigh/default/mcast_solicit").write_text("20")


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon for the whole session; tests may restart it."""
    process = DaemonProcess(tmp_path_factory.mktemp("daemon"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[Client]:
    """A client of the daemon; at the end all domains go, and nothing may be left of them."""
    with Client(daemon.socket) as client:
        yield client
    with Client(daemon.socket) as after:
        for domain in after.list(all=True):
            after.destroy(domain.uuid, missing_ok=True)
        daemon.wait_full()
        assert_nothing_leaked(after, daemon.others)
        shells = sum(f.high for f in after.flavors() if f.networks or f.disks)
        for count in daemon.held:
            enough = partial(holds, count, shells)
            eventually(enough, "only shells have devices", counted=count)


def holds(count: Counted, number: int) -> bool:
    """Whether there is just so much of something."""
    return len(count()) == number


@pytest.fixture(scope="module")
def network_daemon(
    daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """A daemon with a network, beside the other one, whose pool stays full meanwhile."""
    directory = tmp_path_factory.mktemp("network")
    with beside(daemon, directory, high=4, more=NETWORK, held=HELD) as process:
        yield process
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
