"""Guests that are asked to stop, what becomes of those that end, and consoles both ways."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

import pytest

from lightvm.blocking import Client
from lightvm.errors import NotPossibleNow, TimedOut
from lightvm.model import ExitReason, Policy, Power, State, WaitFor
from tests.lab.daemon import (
    BIN,
    HELLO,
    MISBEHAVE,
    NOOP,
    DaemonProcess,
    command,
    eventually,
    xl_list,
)


@pytest.mark.smoke
@pytest.mark.parametrize("power", list(Power))
def test_a_guest_obeys(client: Client, power: Power) -> None:
    client.create(NOOP, name="obedient", on_reboot=Policy.DESTROY, wait=WaitFor.READY)
    domain = client.stop("obedient", power=power)
    assert domain.exit is not None
    assert domain.exit.reason is ExitReason(power)


def test_a_deaf_guest_and_one_that_only_says_yes_are_told_apart(client: Client) -> None:
    client.create(MISBEHAVE, name="deaf", cmdline="ready deaf", wait=WaitFor.READY)
    client.create(MISBEHAVE, name="yes", cmdline="ready yes", wait=WaitFor.READY)
    with pytest.raises(TimedOut, match="does not hear"):
        client.stop("deaf", timeout_ms=1000)
    with pytest.raises(TimedOut, match="has heard"):
        client.stop("yes", timeout_ms=1000)
    for name in ("deaf", "yes"):
        assert client.info(name).state is State.READY
        domain = client.stop(name, timeout_ms=500, force=True)
        assert domain.domid not in xl_list()


def test_requests_are_heard_after_a_restart_of_the_daemon(
    client: Client, daemon: DaemonProcess
) -> None:
    client.create(MISBEHAVE, name="yes", cmdline="ready yes", wait=WaitFor.READY)
    client.create(NOOP, name="obedient", wait=WaitFor.READY)
    with pytest.raises(TimedOut, match="has heard"):
        client.stop("yes", timeout_ms=1000)
    daemon.kill()
    daemon.start()
    with Client(daemon.socket) as after:
        with pytest.raises(TimedOut, match="has heard"):
            after.stop("yes", timeout_ms=1000)
        assert after.stop("obedient").exit is not None


def test_restart_and_policies(client: Client) -> None:
    before = client.create(NOOP, name="again", wait=WaitFor.READY).domain
    after = client.restart("again").domain
    assert after.uuid != before.uuid
    assert before.domid not in xl_list()
    client.stop("again", power=Power.REBOOT)
    eventually(
        lambda: [d.uuid for d in client.list()] not in ([], [after.uuid]), "a reboot is a restart"
    )
    assert client.info("again").restarts == 2


def test_a_preserved_crash_stays_in_xen(client: Client, daemon: DaemonProcess) -> None:
    crash = client.create(MISBEHAVE, name="c", cmdline="crash", on_crash=Policy.PRESERVE).domain
    client.wait("c", WaitFor.EXITED)
    time.sleep(1)
    assert crash.domid in xl_list()
    assert client.info("c").heartbeat is None
    daemon.kill()
    daemon.start()
    with Client(daemon.socket) as after:
        assert after.info("c").exit is not None
        assert crash.domid in xl_list()
        after.destroy("c")
        eventually(lambda: crash.domid not in xl_list(), "it is gone")


def test_the_heart_beats(client: Client) -> None:
    client.create(NOOP, name="alive", wait=WaitFor.READY)
    eventually(lambda: (client.info("alive").heartbeat or 0) > 0, "a beat")


@pytest.mark.parametrize("word", ["echo", "interrupts"])
def test_a_guest_reads_its_console_by_polling_and_by_interrupts(client: Client, word: str) -> None:
    client.create(HELLO, name="parrot", cmdline=word, wait=WaitFor.READY)
    long = b"y" * 150
    for line in (b"first", long, b"last"):
        client.console_write("parrot", line + b"\n")
    client.console_write("parrot", b"quit\n")
    domain = client.wait("parrot", WaitFor.EXITED)
    assert domain.exit is not None
    assert domain.exit.status == 0
    assert client.console_read("parrot").data.endswith(b"first\n" + long + b"\nlast\n")


def test_more_input_than_the_ring_holds_arrives_in_order(client: Client) -> None:
    client.create(HELLO, name="parrot", cmdline="echo", wait=WaitFor.READY)
    lines = b"".join(b"line %d\n" % number for number in range(1000))
    client.console_write("parrot", lines)
    client.console_write("parrot", b"quit\n")
    client.wait("parrot", WaitFor.EXITED)
    assert client.console_read("parrot").data.endswith(lines)


def test_one_writer_at_a_time(client: Client, daemon: DaemonProcess) -> None:
    client.create(HELLO, name="parrot", cmdline="echo", wait=WaitFor.READY)
    with client.follow_console("parrot", attach=True) as chunks:
        writer = next(chunks).writer
        with Client(daemon.socket) as other:
            with pytest.raises(NotPossibleNow):
                other.console_write("parrot", b"mine\n")
            other.console_write("parrot", b"quit\n", writer)


def test_a_terminal_attaches(client: Client, daemon: DaemonProcess) -> None:
    client.create(HELLO, name="parrot", cmdline="echo", wait=WaitFor.READY)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [BIN / "lightvm", "--socket", daemon.socket, "console", "parrot"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = b""

    def shown(text: bytes) -> bool:
        nonlocal seen
        if select.select([master], [], [], 0)[0]:
            seen += os.read(master, 4096)
        return text in seen

    eventually(lambda: shown(b"Escape key"), "attached")
    os.write(master, b"polly\r")
    eventually(lambda: shown(b"polly\n"), "what was typed came back")
    os.write(master, b"\x1d")
    assert process.wait(60) == 0
    os.close(master)
    assert client.info("parrot").exit is None


def test_commands(client: Client, daemon: DaemonProcess) -> None:
    client.create(NOOP, name="obedient", wait=WaitFor.READY)
    command("restart", "obedient", socket=daemon.socket)
    command("stop", "--timeout", "20", "obedient", socket=daemon.socket)
    assert "poweroff" in command("info", "obedient", socket=daemon.socket).stdout
    failed = command("stop", "obedient", socket=daemon.socket, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("lightvm: not-possible-now: ")
