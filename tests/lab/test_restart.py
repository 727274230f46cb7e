"""The daemon killed at its worst moment: guests live on, and the next daemon knows them."""

from __future__ import annotations

from pathlib import Path

from lightvm.blocking import Client
from lightvm.model import ExitReason, State, WaitFor
from tests.lab.daemon import (
    HELLO,
    MISBEHAVE,
    NOOP,
    DaemonProcess,
    assert_nothing_leaked,
    eventually,
    xl_list,
)

RUNNING = 50
DESTROYED = 250
"""It takes longer than a stop waits for one of them to give so many back."""


def test_kill_with_fifty_domains_and_a_filling_pool_loses_nothing(
    client: Client, daemon: DaemonProcess
) -> None:
    names = {
        f"keep-{index}": client.create(NOOP, name=f"keep-{index}").domain
        for index in range(RUNNING)
    }
    talker = client.create(MISBEHAVE, name="talker", cmdline="flood").domain
    done = client.create(HELLO, name="done", cmdline="status=4").domain
    client.wait("done", WaitFor.EXITED)
    before = client.console_read("talker").next
    assert client.pool_status()[0].shells < daemon.high  # it is filling
    daemon.kill()
    assert set(xl_list()) >= {domain.domid for domain in names.values()}
    daemon.start()
    with Client(daemon.socket) as fresh:
        found = {domain.name: domain for domain in fresh.list()}
        assert {name: found[name].domid for name in names} == {n: d.domid for n, d in names.items()}
        assert all(fresh.wait(name, WaitFor.READY).state is State.READY for name in names)
        assert found["talker"].domid == talker.domid
        eventually(lambda: fresh.console_read("talker").next > 0, "the console goes on")
        fresh.destroy("talker")
        ended = fresh.info(done.uuid)
        assert ended.exit is not None
        assert (ended.exit.reason, ended.exit.status) == (ExitReason.POWEROFF, 4)
        daemon.wait_full()
        assert_nothing_leaked(fresh)
        shown = xl_list()
        eventually(
            lambda: all(xl_list().get(d.domid) == name for name, d in names.items()),
            f"xl agrees: {shown}",
        )
        assert len(fresh.list()) == RUNNING
        eventually(lambda: len(xl_list()) == RUNNING + daemon.high, "xl lists domains and shells")
    assert before > 0


def test_orderly_stop_gives_shells_back_and_leaves_guests_alone(
    client: Client, daemon: DaemonProcess
) -> None:
    domain = client.create(NOOP, name="survivor", wait=WaitFor.READY).domain
    daemon.stop()
    assert set(xl_list()) == {domain.domid}
    daemon.start()
    with Client(daemon.socket) as fresh:
        assert fresh.info("survivor").domid == domain.domid


def test_stop_right_after_many_destroys_leaves_nothing_of_them(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    daemon.wait_full()
    before = set(xl_list())
    other = DaemonProcess(tmp_path, low=1, high=DESTROYED)
    config = other.config.read_text()
    other.config.write_text(config.replace("[daemon]\n", "[daemon]\ndrain_seconds = 2.0\n"))
    other.start()
    other.wait_full()
    with Client(other.socket) as client:
        for domain in [client.create(NOOP).domain for _ in range(DESTROYED)]:
            client.destroy(domain.uuid)
    other.stop()
    assert set(xl_list()) == before


def test_guest_that_ends_while_no_daemon_runs_is_found_ended(
    client: Client, daemon: DaemonProcess
) -> None:
    client.create(HELLO, name="meanwhile", paused=True)
    domid = client.info("meanwhile").domid
    daemon.kill()
    import subprocess

    subprocess.run(["xl", "unpause", str(domid)], check=True, timeout=120)
    daemon.start()
    with Client(daemon.socket) as fresh:
        ended = fresh.wait("meanwhile", WaitFor.EXITED)
        assert ended.exit is not None
        assert ended.exit.reason is ExitReason.POWEROFF
