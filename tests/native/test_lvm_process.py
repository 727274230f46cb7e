"""The native ``lvm`` as a process: without a daemon, with signals, and with strange streams."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lightvm import calls, endpoint
from lightvm.cli import lvm
from lightvm.model import (
    CreateResult,
)
from tests.native_lvm import Done, Installed
from tests.unit.samples import CREATED, DOMAIN
from tests.unit.scripted import Peer, ScriptedDaemon, answering

# No daemon


def test_without_a_daemon_there_is_one_line(
    installed: Installed, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    file = tmp_path / "file"
    file.touch()
    for path, handed in (
        (tmp_path / "none", False),
        (dead, False),
        (file, False),
        ("x" * 200, True),
    ):
        line = ("destroy", "--socket", str(path), "a")
        assert lvm.main(list(line)) == 3
        wanted = Done(3, *capfd.readouterr())
        assert installed.run(*line) == wanted
        assert bool(installed.taken_over()) == handed


@pytest.mark.slow
def test_daemon_that_accepts_nothing_is_not_waited_for_for_ever(
    installed: Installed, tmp_path: Path
) -> None:
    path = str(tmp_path / "sock")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        queued = stack.enter_context(socket.socket(socket.AF_UNIX))
        queued.connect(path)
        start = time.monotonic()
        done = installed.run("create", "/k", "--socket", path)
        assert 3.5 < time.monotonic() - start < 20
    assert done == (3, "", f"lightvm: no-daemon: {endpoint.busy(path)}\n")


def test_daemon_that_is_late_to_accept_is_waited_for(installed: Installed, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        queued = stack.enter_context(socket.socket(socket.AF_UNIX))
        queued.connect(path)

        def accept() -> None:
            listener.accept()[0].close()
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b'{"parameters":{}}\0')

        process = subprocess.Popen(
            [installed.lvm, "destroy", "a", "--socket", path], stderr=subprocess.PIPE
        )
        until_it_sleeps(process)
        thread = threading.Thread(target=accept)
        thread.start()
        _, err = process.communicate(timeout=30)
        thread.join()
    assert (process.returncode, err) == (0, b"")


def until_it_sleeps(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process waits, which this one does in connect() first."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "S":
            return
        time.sleep(0.01)


# Signals and streams


def waiting(path: Path, called: threading.Event) -> ScriptedDaemon:
    """Return a daemon that never answers."""

    def play(peer: Peer) -> None:
        peer.next_call()
        called.set()
        peer.wait_gone()

    return ScriptedDaemon(path, play)


def test_interrupt_has_its_exit_code(installed: Installed, tmp_path: Path) -> None:
    called = threading.Event()
    with waiting(tmp_path / "sock", called) as daemon:
        process = subprocess.Popen(
            [installed.lvm, "wait", "x", "--socket", daemon.path],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert called.wait(20)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_interrupt_that_was_ignored_stays_so(installed: Installed, tmp_path: Path) -> None:
    called = threading.Event()
    with waiting(tmp_path / "sock", called) as daemon:
        process = subprocess.Popen(
            [installed.lvm, "wait", "x", "--socket", daemon.path],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        assert called.wait(20)
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()
        process.wait(20)
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert ignored & 1 << (signal.SIGINT - 1)


@pytest.fixture
def listing(tmp_path: Path) -> Iterator[str]:
    """A daemon that lists one domain."""
    with ScriptedDaemon(
        tmp_path / "sock", answering(List=calls.ListReply(domains=(DOMAIN,)))
    ) as daemon:
        yield daemon.path


def test_output_that_nobody_reads_has_its_exit_code(installed: Installed, listing: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [installed.lvm, "list", "--socket", listing], stdout=writer, timeout=20, check=False
    )
    os.close(writer)
    assert done.returncode == 141


def test_full_disk_is_an_error(installed: Installed, listing: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [installed.lvm, "list", "--socket", listing],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "lightvm: os-error: [Errno 28] No space left on device\n"
    assert installed.taken_over() == []


@pytest.mark.parametrize("stream", ["0<&-", "1>&-", "2>&-"])
def test_closed_streams_are_left_to_python(installed: Installed, listing: str, stream: str) -> None:
    line = f"{installed.lvm} list --socket {listing} {stream}"
    assert subprocess.run(["sh", "-c", line], timeout=20, check=False).returncode == 0
    assert installed.taken_over() == [["--as-lvm", "list", "--socket", listing]]


def test_progress_on_a_terminal_is_left_to_python(installed: Installed, tmp_path: Path) -> None:
    answer = calls.CreateManyReply(results=(CreateResult(index=0, created=CREATED),))
    controller, terminal = pty.openpty()
    with ScriptedDaemon(tmp_path / "sock", answering(CreateMany=answer)) as daemon:
        done = subprocess.run(
            [installed.lvm, "create", "/k", "--count", "1", "--socket", daemon.path],
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=20,
            check=False,
        )
    os.close(terminal)
    os.close(controller)
    assert done.stdout == b"web-1  12  pool  0.41 ms\n"
    assert len(installed.taken_over()) == 1
