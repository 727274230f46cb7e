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

CREATES = 6


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
        eventually(lambda: traced(daemon.pid), "strace is attached to every thread")
        made = [client.create(NOOP) for _ in range(CREATES)]
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(60)
    assert all(created.source is Source.POOL for created in made)
    served = between_request_and_reply(trace.read_text(errors="replace"))
    assert len(served) == CREATES
    for lines in served:
        hypercalls = [line for line in lines if "/dev/xen/privcmd" in line and "ioctl" in line]
        assert len(hypercalls) == 1, "\n".join(lines)
        assert not [line for line in lines if "xenstore" in line or "xenbus" in line], "\n".join(
            lines
        )
        forks = [line for line in lines if re.search(r"\b(clone3?|fork|vfork|execve)\(", line)]
        assert not forks, "\n".join(lines)


def traced(pid: int) -> bool:
    """Whether a tracer is attached to all threads of a process."""
    return all(
        not re.search(r"^TracerPid:\t0$", status.read_text(), re.MULTILINE)
        for status in Path(f"/proc/{pid}/task").glob("*/status")
    )


def between_request_and_reply(trace: str) -> list[list[str]]:
    """Cut the daemon's own thread out of a trace: per create, what stands between its request and its reply."""
    served: list[list[str]] = []
    current: list[str] | None = None
    thread = ""
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        # A call that another thread's interrupts is printed in two parts: the content of a receive is in the second.
        call = call.strip().replace("<... recvfrom resumed>", "recvfrom(")
        if call.startswith("recvfrom(") and "io.github.lightvm.Create" in call:
            current, thread = [], pid
        elif current is not None and pid == thread:
            if call.startswith("sendto(") and "parameters" in call:
                served.append(current)
                current = None
            else:
                current.append(call)
    return served
