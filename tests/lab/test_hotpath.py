"""What the daemon does between a request and its reply, as strace sees it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lightvm.blocking import Client
from lightvm.model import Source
from tests.lab.daemon import NOOP, DaemonProcess, eventually

CREATES = 10


@pytest.mark.smoke
def test_pooled_create_is_one_hypercall_and_no_xenstore_before_its_reply(
    client: Client, daemon: DaemonProcess, tmp_path: Path
) -> None:
    client.create(NOOP)  # the image is in memory from here on
    daemon.wait_full()
    time.sleep(3)  # housekeeping of that create is over; the pool is quiet
    trace = tmp_path / "trace"
    strace = subprocess.Popen(
        ["strace", "-f", "-y", "-qq", "-s", "64", "-o", trace, "-p", str(daemon.pid)]
    )
    try:
        eventually(lambda: trace.exists() and trace.stat().st_size > 0, "strace is attached")
        made = [client.create(NOOP) for _ in range(6)]
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(60)
    assert all(created.source is Source.POOL for created in made)
    served = between_request_and_reply(trace.read_text(errors="replace"))
    assert len(served) >= 5  # strace may have come too late for the first
    for lines in served:
        hypercalls = [line for line in lines if "/dev/xen/privcmd" in line and "ioctl" in line]
        assert len(hypercalls) == 1, "\n".join(lines)
        assert not [line for line in lines if "xenstore" in line or "xenbus" in line], "\n".join(
            lines
        )
        forks = [line for line in lines if re.search(r"\b(clone3?|fork|vfork|execve)\(", line)]
        assert not forks, "\n".join(lines)


def between_request_and_reply(trace: str) -> list[list[str]]:
    """Cut the daemon's own thread out of a trace: per create, what stands between its request and its reply."""
    served: list[list[str]] = []
    current: list[str] | None = None
    thread = ""
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.startswith("recvfrom(") and "io.github.lightvm.Create" in call:
            current, thread = [], pid
        elif current is not None and pid == thread:
            if call.startswith("sendto(") and "parameters" in call:
                served.append(current)
                current = None
            else:
                current.append(call)
    return served
