"""Guests with a network: connected to stock netback before they exist, answering as soon as they run."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lightvm.blocking import Client
from lightvm.errors import AddressTaken
from lightvm.model import NetRequest, Source, WaitFor
from tests.lab.daemon import DAYTIME, DaemonProcess, eventually
from tests.lab.network import HOST, NET, address, ports
from tests.lab.test_hotpath import between_request_and_reply, traced


@pytest.fixture(scope="module")
def daemon(daemon: DaemonProcess, network_daemon: DaemonProcess) -> DaemonProcess:
    """The daemon with a network."""
    return network_daemon


def ping(target: str, count: int = 3) -> str:
    """Ping; return what ping says at the end."""
    done = subprocess.run(
        ["ping", "-q", "-c", str(count), "-i", "0.2", "-W", "5", target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f" {count} received, 0% packet loss" in done.stdout, done.stdout
    return done.stdout


def daytime(target: str) -> datetime:
    """Ask for the time over TCP."""
    with socket.create_connection((target, 13), 10) as connection:
        text = b""
        while data := connection.recv(100):
            text += data
    return datetime.strptime(text.decode(), "%Y-%m-%d %H:%M:%S UTC\r\n").replace(tzinfo=UTC)


@pytest.mark.smoke
def test_daytime_sends_its_beacon_and_answers(client: Client) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as beacons:
        beacons.bind((HOST, 0))
        beacons.settimeout(10)
        created = client.create(
            DAYTIME,
            name="clock",
            nets=NET,
            cmdline=f"beacon={HOST}:{beacons.getsockname()[1]}",
            wait=WaitFor.READY,
        )
        name, (sender, _) = beacons.recvfrom(100)
    assert created.source is Source.POOL
    assert (name, sender) == (b"clock", address(created))
    ping(address(created))
    assert abs(time.time() - daytime(address(created)).timestamp()) < 5
    neighbours = subprocess.run(["ip", "neigh"], capture_output=True, text=True, check=True).stdout
    assert created.domain.vifs[0].mac in neighbours


def delivered(port: str) -> int:
    """Return how many packets were on their way to a guest."""
    counts = Path(f"/sys/class/net/{port}/statistics")
    return sum(int((counts / name).read_text()) for name in ("tx_packets", "tx_dropped"))


@pytest.mark.smoke
def test_a_shell_hears_nothing_and_its_guest_is_found_at_once(
    client: Client, daemon: DaemonProcess
) -> None:
    awake = client.create(DAYTIME, nets=NET, wait=WaitFor.READY)
    running = f"vif{awake.domain.domid}.0"
    ping(address(awake))
    daemon.wait_full()
    shells = ports() - {running}
    assert shells
    before = {port: delivered(port) for port in (*shells, running)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(10):
            noise.sendto(b"x", ("10.78.0.255", 9))
        noise.sendto(b"x", ("10.78.0.200", 9))  # nobody's: an ARP request
        eventually(
            lambda: delivered(running) >= before[running] + 11, "a guest hears what is for all"
        )
    created = client.create(DAYTIME, nets=NET)
    assert f"vif{created.domain.domid}.0" in shells
    shells -= {f"vif{created.domain.domid}.0"}
    begun = time.monotonic()
    ping(address(created), 1)
    print(f"first ping, not waited for ready: {1000 * (time.monotonic() - begun):.1f} ms")
    assert all(delivered(port) == before[port] for port in shells)


def test_several_guests_have_addresses_of_their_own(client: Client) -> None:
    made = [client.create(DAYTIME, nets=NET, wait=WaitFor.READY) for _ in range(6)]
    assert len({address(created) for created in made}) == len(made)
    assert len({created.domain.vifs[0].mac for created in made}) == len(made)
    for created in made:
        daytime(address(created))


def test_an_address_can_be_chosen_but_not_twice(client: Client) -> None:
    net = NetRequest(network="default", ipv4="10.78.0.77", mac="02:00:00:00:00:4d")
    created = client.create(DAYTIME, nets=[net], wait=WaitFor.READY)
    assert address(created) == "10.78.0.77"
    ping("10.78.0.77")
    with pytest.raises(AddressTaken):
        client.create(DAYTIME, nets=[net])
    client.destroy(created.domain.uuid)
    eventually(lambda: f"vif{created.domain.domid}.0" not in ports(), "the port is gone")
    again = client.create(DAYTIME, nets=[net], wait=WaitFor.READY)
    ping(address(again))


def test_a_cold_guest_may_have_two_vifs(client: Client) -> None:
    created = client.create(DAYTIME, nets=NET * 2, wait=WaitFor.READY)
    assert created.source is Source.COLD
    first, second = created.domain.vifs
    assert first.ipv4 != second.ipv4
    assert {f"vif{created.domain.domid}.{index}" for index in range(2)} <= ports()
    for vif in created.domain.vifs:
        assert vif.ipv4 is not None
        ping(vif.ipv4.partition("/")[0])


def test_guests_and_shells_outlive_a_kill_as_they_should(
    client: Client, daemon: DaemonProcess
) -> None:
    created = client.create(DAYTIME, name="kept", nets=NET, wait=WaitFor.READY)
    daemon.kill()
    ping(address(created))
    daemon.start()
    daemon.wait_full()
    with Client(daemon.socket) as after:
        assert after.info("kept").vifs == created.domain.vifs
        ping(address(created))
        assert len(ports()) == daemon.high + 1
        other = after.create(DAYTIME, nets=NET, wait=WaitFor.READY)
        assert address(other) != address(created)


@pytest.mark.smoke
def test_a_pooled_create_with_a_vif_asks_nobody(
    client: Client, daemon: DaemonProcess, tmp_path: Path
) -> None:
    client.create(DAYTIME, nets=NET, wait=WaitFor.READY)
    daemon.wait_full()
    time.sleep(3)  # what that create left for later is done
    trace = tmp_path / "trace"
    strace = subprocess.Popen(
        ["strace", "-f", "-y", "-qq", "-s", "64", "-o", trace, "-p", str(daemon.pid)]
    )
    try:
        eventually(lambda: traced(daemon.pid), "strace is attached to every thread")
        made = [client.create(DAYTIME, nets=NET) for _ in range(3)]
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(60)
    assert all(created.source is Source.POOL for created in made)
    served = between_request_and_reply(trace.read_text(errors="replace"))
    assert len(served) == len(made)
    for lines in served:
        text = "\n".join(lines)
        assert len(re.findall(r"ioctl.*/dev/xen/privcmd", text)) == 1, text
        assert not re.search(r"xenstore|xenbus|NETLINK", text), text
