"""Domains on demand: clients ask addresses where there is nothing yet, and all are answered."""

from __future__ import annotations

import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lightvm.blocking import Client
from lightvm.model import ServiceStatus
from tests.lab.daemon import DAYTIME, SHELL_SECONDS, DaemonProcess, beside, eventually
from tests.lab.network import BRIDGE, HELD, NETWORK

CLIENTS, EVERY_SECONDS, IDLE_SECONDS = 100, 0.05, 10
FEW = 4
"""Shells where no crowd comes."""

SERVICE = f"""
[pool]
yield_ms = 3000
[services.clock]
image = "{DAYTIME}"
network = "default"
addresses = ["10.78.0.100-10.78.0.199"]
flavor = "net"
idle_seconds = {IDLE_SECONDS}
"""


@pytest.fixture(scope="module", params=[FEW, pytest.param(CLIENTS, marks=pytest.mark.scale)])
def daemon(
    request: pytest.FixtureRequest,
    daemon: DaemonProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DaemonProcess]:
    """A daemon with a service, and with some shells, beside the other one."""
    more = NETWORK.replace("= 4", f"= {request.param}") + SERVICE
    directory = tmp_path_factory.mktemp("jit")
    with beside(daemon, directory, high=FEW, more=more, held=HELD) as process:
        yield process
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


def ask(target: str) -> float:
    """Ask for the time over TCP; return how long the answer took, in seconds."""
    begun = time.monotonic()
    with socket.create_connection((target, 13), 60) as connection:
        text = b""
        while data := connection.recv(100):
            text += data
    assert text.endswith(b" UTC\r\n"), text
    return time.monotonic() - begun


def status(client: Client) -> ServiceStatus:
    (only,) = client.services()
    return only


@pytest.mark.smoke
def test_the_first_packet_makes_a_domain_that_answers_it(client: Client) -> None:
    assert not client.list()
    before = status(client).destroyed
    print(f"first answer after {1000 * ask('10.78.0.100'):.1f} ms")
    (domain,) = client.list()
    assert (domain.name, domain.vifs[0].mac) == ("clock-10.78.0.100", "02:4c:0a:4e:00:64")
    again = ask("10.78.0.100")
    print(f"second answer, from the same domain, after {1000 * again:.1f} ms")
    assert [d.uuid for d in client.list()] == [domain.uuid]
    eventually(lambda: status(client).destroyed > before, "it is idle, and goes")
    ask("10.78.0.100")  # the caller remembers its MAC address
    (another,) = client.list()
    assert another.vifs == domain.vifs


@pytest.mark.scale
@pytest.mark.parametrize("daemon", [CLIENTS], indirect=True)
def test_a_hundred_clients_get_a_domain_each(client: Client, daemon: DaemonProcess) -> None:
    eventually(lambda: not client.list(), "there is no domain before")
    daemon.wait_full()
    before = status(client)
    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as executor:
        answers = []
        for number in range(CLIENTS):
            time.sleep(max(0.0, begun + number * EVERY_SECONDS - time.monotonic()))
            answers.append(executor.submit(ask, f"10.78.0.{100 + number}"))
        took = [1000 * answer.result() for answer in answers]
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    print(
        f"{CLIENTS} clients, one each {1000 * EVERY_SECONDS:.0f} ms, 0 domains before:"
        f" p50 {cuts[49]:.1f} ms, p90 {cuts[89]:.1f} ms, p99 {cuts[98]:.1f} ms"
    )
    # A guest may answer before the daemon has heard that it is ready.
    eventually(lambda: status(client).created - before.created >= CLIENTS, "all are counted")
    assert status(client).failed == before.failed
    gone = eventually(
        lambda: not client.list(), "all are idle, and go", 120 + CLIENTS * SHELL_SECONDS
    )
    print(f"all gone after {gone:.1f} s more")


def test_the_next_daemon_takes_its_domains_over(client: Client, daemon: DaemonProcess) -> None:
    ask("10.78.0.150")
    daemon.kill()
    daemon.start()
    with Client(daemon.socket) as after:
        assert status(after).live == 1
        ask("10.78.0.150")
        assert status(after).requests == 0
        eventually(lambda: status(after).live == 0, "it is idle, and goes")
