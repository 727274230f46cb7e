"""Fixtures of the tests on real Xen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightvm.blocking import Client
from tests.lab.daemon import DaemonProcess, assert_nothing_leaked, eventually
from tests.lab.network import BRIDGE, NETWORK, nodes, ports


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no Xen: these tests are for a dom0."""
    if Path("/proc/xen/capabilities").exists():
        return
    skip = pytest.mark.skip(reason="not in a Xen dom0: run tools/test lab")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(skip)


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
        assert_nothing_leaked(after, daemon.others)
        if daemon.network:
            daemon.wait_full()
            eventually(lambda: len(ports()) == daemon.high, "only shells have ports")
            eventually(lambda: len(nodes()) == daemon.high, "only shells have nodes")


@pytest.fixture(scope="module")
def network_daemon(
    daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """A daemon with a network, beside the other one, whose pool stays full meanwhile."""
    daemon.wait_full()
    process = DaemonProcess(tmp_path_factory.mktemp("network"), low=4, high=4, more=NETWORK)
    process.network = True
    process.start()
    process.wait_full()
    yield process
    process.stop()
    assert not ports()
    assert not nodes()
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
