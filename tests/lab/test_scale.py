"""Hundreds of guests with a network at once, and nothing left of them: `tools/test scale`, since it takes minutes."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightvm.blocking import Client
from lightvm.model import Source, WaitFor
from tests.lab.daemon import (
    DAYTIME,
    SHELL_SECONDS,
    DaemonProcess,
    assert_nothing_leaked,
    eventually,
    nodes,
)
from tests.lab.network import BRIDGE, HELD, NET, NETWORK, address, ports

pytestmark = pytest.mark.scale

GUESTS_AT_ONCE = 500
SHELLS = GUESTS_AT_ONCE + 8
PATIENCE = 1200.0


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon with a pool for all."""
    more = NETWORK.replace("high = 4", f"high = {SHELLS}").replace("/24", "/16")
    process = DaemonProcess(tmp_path, low=0, high=0, more=more)
    process.start()
    with Client(process.socket) as client:
        eventually(
            lambda: max(pool.shells for pool in client.pool_status()) >= SHELLS,
            "the pool is full",
            SHELLS * SHELL_SECONDS,
        )
    yield process
    with Client(process.socket, limit_s=PATIENCE) as client:
        for domain in client.list(all=True):  # where the test has failed
            client.destroy(domain.uuid, missing_ok=True, wait=True)
    process.stop()
    assert not [things for count in HELD if (things := count())]
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


def test_a_crowd_answers_at_once_and_leaves_nothing(crowd: DaemonProcess) -> None:
    with Client(crowd.socket, limit_s=PATIENCE) as client:
        begun = time.monotonic()
        made = [client.create(DAYTIME, nets=NET, wait=WaitFor.READY) for _ in range(GUESTS_AT_ONCE)]
        created = time.monotonic() - begun
        assert all(each.source is Source.POOL for each in made)
        begun = time.monotonic()
        callers = []
        for each in made:
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex((address(each), 13))
            callers.append(caller)
        for caller in callers:
            caller.settimeout(60)
            assert caller.recv(100).endswith(b" UTC\r\n")
            caller.close()
        answered = time.monotonic() - begun
        print(f"{GUESTS_AT_ONCE} created in {created:.1f} s, all answered in {answered:.1f} s")
        for each in made:
            client.destroy(each.domain.uuid)
        assert_nothing_leaked(client, crowd.others, PATIENCE)
        in_use = {f"vif{each.domain.domid}.0" for each in made}
        eventually(lambda: not in_use & ports(), "their ports are gone", PATIENCE)
        gone = {str(each.domain.domid) for each in made}
        eventually(lambda: not gone & nodes("vif"), "their nodes are gone", PATIENCE)
