"""Creating domains on real Xen, through the API and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lightvm import errors
from lightvm.blocking import Client
from lightvm.model import CreateRequest, ExitReason, Source, State, WaitFor
from tests.lab.daemon import HELLO, MISBEHAVE, NOOP, DaemonProcess, command, eventually, xl_list


@pytest.mark.smoke
def test_pooled_create_is_ready_and_known_to_xl(client: Client, daemon: DaemonProcess) -> None:
    daemon.wait_full()
    created = client.create(NOOP, name="first", wait=WaitFor.READY)
    assert created.source is Source.POOL
    assert created.domain.state is State.READY
    eventually(lambda: xl_list().get(created.domain.domid) == "first", "xl shows the name")


def test_create_without_a_fitting_flavor_is_cold(client: Client) -> None:
    created = client.create(NOOP, memory_kib=1024, wait=WaitFor.READY)
    assert created.source is Source.COLD
    assert created.domain.memory_kib == 1024


def test_xens_own_bindings_agree_about_a_domain(client: Client) -> None:
    sys.path += [str(path) for path in Path("/usr/lib").glob("xen-*/lib/python*")]
    sys.path += [str(path) for path in Path("/usr/lib").glob("xen-*/lib/python*/*-packages")]
    lowlevel = pytest.importorskip("xen.lowlevel.xc", reason="bindings are for another Python")
    domain = client.create(NOOP, wait=WaitFor.READY).domain
    info = lowlevel.xc().domain_getinfo(domain.domid, 1)[0]
    assert info["domid"] == domain.domid
    assert bytes(info["handle"]).hex() == domain.uuid.replace("-", "")
    assert info["hvm"] == 1
    assert info["online_vcpus"] == 1


@pytest.mark.smoke
def test_hello_speaks_and_exits_with_its_status(client: Client) -> None:
    domain = client.create(HELLO, name="speaker", cmdline="status=-7 some words").domain
    ended = client.wait("speaker", WaitFor.EXITED)
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.status) == (ExitReason.POWEROFF, -7)
    text = client.console_read(domain.uuid).data.decode()
    assert text == "Hello from a LightVM guest.\nCommand line: status=-7 some words\n"


def test_paused_create_runs_only_after_unpause(client: Client) -> None:
    domain = client.create(HELLO, name="sleeper", paused=True).domain
    assert domain.state is State.PAUSED
    assert client.console_read("sleeper").data == b""
    client.unpause("sleeper")
    assert client.wait("sleeper", WaitFor.EXITED).exit is not None


def test_same_token_gives_the_same_domain(client: Client) -> None:
    first = client.create(NOOP, token="abc")
    again = client.create(NOOP, token="abc")
    assert again.source is Source.EXISTING
    assert again.domain.uuid == first.domain.uuid


def test_taken_name_is_refused_and_costs_no_shell(client: Client, daemon: DaemonProcess) -> None:
    daemon.wait_full()
    client.create(NOOP, name="taken")
    before = client.pool_status()[0]
    with pytest.raises(errors.NameTaken):
        client.create(NOOP, name="taken")
    after = client.pool_status()[0]  # it may have been filled up again meanwhile
    assert (after.hits, after.misses) == (before.hits, before.misses)


def test_many_at_once_report_each(client: Client) -> None:
    requests = [client_request(index) for index in range(5)]
    results = client.create_many(requests)
    assert [result.failure.code if result.failure else None for result in results] == [
        None,
        None,
        None,
        "bad-image",
        None,
    ]


def client_request(index: int) -> CreateRequest:
    """One request, the fourth of them bad."""
    return CreateRequest(image="/etc/hostname" if index == 3 else NOOP, name=f"many-{index}")


def test_guest_that_does_not_become_ready_times_out_and_stays(client: Client) -> None:
    with pytest.raises(errors.TimedOut):
        client.create(MISBEHAVE, name="mute", cmdline="loop", wait=WaitFor.READY, timeout_ms=1500)
    assert client.info("mute").state is State.RUNNING


def test_guest_that_ends_early_is_reported(client: Client) -> None:
    with pytest.raises(errors.GuestExited):
        client.create(MISBEHAVE, cmdline="", wait=WaitFor.READY)


def test_guest_cannot_write_its_device_page(client: Client) -> None:
    client.create(MISBEHAVE, name="vandal", cmdline="device-page")
    ended = client.wait("vandal", WaitFor.EXITED)
    assert ended.exit is not None
    assert ended.exit.status == 0  # 1 would say that the page changed


def test_guest_that_talks_nonsense_is_not_believed(client: Client) -> None:
    client.create(MISBEHAVE, name="liar", cmdline="control")
    client.create(NOOP, name="honest", wait=WaitFor.READY)
    assert client.info("liar").state is State.RUNNING


def test_console_with_impossible_indices_hurts_nobody(client: Client) -> None:
    client.create(MISBEHAVE, name="broken", cmdline="ring ready")
    client.create(HELLO, name="fine")
    assert client.wait("fine", WaitFor.EXITED).exit is not None
    assert b"Hello" in client.console_read("fine").data


def test_flooding_guest_is_bounded_and_does_not_stop_others(client: Client) -> None:
    client.create(MISBEHAVE, name="flood", cmdline="flood ready", wait=WaitFor.READY)
    eventually(lambda: client.console_read("flood").offset > 0, "the oldest output is dropped")
    chunk = client.console_read("flood")
    assert len(chunk.data) <= 64 * 1024
    assert client.create(NOOP, wait=WaitFor.READY).domain.state is State.READY


@pytest.mark.smoke
def test_command_creates_lists_and_destroys(client: Client, daemon: DaemonProcess) -> None:
    made = command(
        "create",
        NOOP,
        "--name",
        "cli",
        "--count",
        "3",
        "--wait",
        "ready",
        "--format",
        "json",
        socket=daemon.socket,
    )
    rows = [json.loads(line) for line in made.stdout.splitlines()]
    assert [row["domain"]["name"] for row in rows] == ["cli-1", "cli-2", "cli-3"]
    listed = command("list", "-q", socket=daemon.socket).stdout.split()
    assert set(listed) == {"cli-1", "cli-2", "cli-3"}
    command("destroy", *listed, socket=daemon.socket)
    assert command("list", "-q", socket=daemon.socket).stdout == ""
    missing = command("info", "cli-1", socket=daemon.socket, check=False)
    assert missing.returncode == 1
    assert missing.stderr.startswith("lightvm: no-such-domain: ")
