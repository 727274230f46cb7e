"""Processes that outlive a command: never the wrong one, always gone in the end."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from xenlab.process import ProcessId


@contextmanager
def child(*command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_process_that_is_gone_has_no_identity():
    with child("true") as process:
        process.wait()
    assert ProcessId.of(process.pid) is None


def test_a_zombie_counts_as_dead():
    with child("sleep", "60") as process:
        identity = ProcessId.of(process.pid)
        process.kill()
        assert identity.wait_gone(5)
        assert not identity.is_alive()


def test_a_recycled_pid_is_left_alone():
    with child("sleep", "60") as process:
        other = ProcessId(pid=process.pid, start_ticks=1)
        assert not other.is_alive()
        other.end()
        assert other.wait_gone(0)
        assert process.poll() is None


def test_end_terminates():
    with child("sleep", "60") as process:
        ProcessId.of(process.pid).end()
        assert process.wait(5) == -15


def test_end_kills_what_ignores_termination():
    script = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    with child(sys.executable, "-c", script) as process:
        process.stdout.readline()
        ProcessId.of(process.pid).end(grace=0.05)
        assert process.wait(5) == -9


def test_waiting_for_a_live_process_has_an_end():
    with child("sleep", "60") as process:
        assert not ProcessId.of(process.pid).wait_gone(0.01)


@pytest.mark.parametrize("name", ["a b) 1 2", "((("])
def test_a_strange_command_name_does_not_confuse(name):
    script = f"import ctypes; ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)"
    script += "; print(flush=True); import time; time.sleep(60)"
    with child(sys.executable, "-c", script) as process:
        before = ProcessId.of(process.pid)
        process.stdout.readline()
        assert ProcessId.of(process.pid) == before
        ended = threading.Thread(target=before.end)
        ended.start()
        ended.join(5)
        assert process.wait(5) == -15
