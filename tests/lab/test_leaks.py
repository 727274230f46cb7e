"""Many creates and destroys leave Xen, XenStore and the daemon as they were."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lightvm.blocking import Client
from lightvm.model import WaitFor
from tests.lab.daemon import HELLO, NOOP, DaemonProcess, eventually, xl_list

ROUNDS = 40


def free_mib() -> int:
    info = subprocess.run(["xl", "info"], capture_output=True, text=True, timeout=120, check=True)
    line = next(line for line in info.stdout.splitlines() if line.startswith("free_memory"))
    return int(line.split(":")[1])


def open_files(daemon: DaemonProcess) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def mappings(daemon: DaemonProcess) -> int:
    return Path(f"/proc/{daemon.pid}/maps").read_text().count("privcmd")


def test_rounds_of_create_and_destroy_leave_nothing(client: Client, daemon: DaemonProcess) -> None:
    client.destroy(client.create(NOOP).domain.uuid, wait=True)
    daemon.wait_full()
    eventually(lambda: len(xl_list()) == daemon.high, "only shells are there")
    before = (free_mib(), open_files(daemon), mappings(daemon))
    for _ in range(ROUNDS):
        client.destroy(client.create(NOOP, wait=WaitFor.READY).domain.uuid, wait=True)
        ended = client.create(HELLO).domain
        client.wait(ended.uuid, WaitFor.EXITED)
        client.destroy(ended.uuid, wait=True)
    daemon.wait_full()
    eventually(lambda: len(xl_list()) == daemon.high, "only shells are there")
    eventually(lambda: free_mib() >= before[0] - 1, "Xen has its memory back")
    assert open_files(daemon) == before[1]
    assert mappings(daemon) == before[2]
