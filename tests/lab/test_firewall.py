"""The per-user firewall of the paper: a guest between two networks, whose rules are its metadata."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from lightvm.blocking import Client
from lightvm.model import NetRequest, WaitFor
from tests.lab.daemon import GUESTS, DaemonProcess, beside, eventually
from tests.lab.network import FIREWALLED, NETWORK, address

FIREWALL, HTTP = str(GUESTS / "firewall"), str(GUESTS / "http")
INNER, OUTER = "10.80.0.254", "10.78.0.254"
NETS = [
    NetRequest(network="default", ipv4=OUTER),
    NetRequest(network="inner", ipv4=INNER),
]
RULES = b"allow tcp to 10.80.0.0/24 port 80\nallow icmp to 10.80.0.0/24  # ping\n"


@pytest.fixture(scope="module")
def daemon(
    daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """A daemon with two networks, of which the host is in the outer one only."""
    networks = NETWORK.partition("[flavors")[0] + FIREWALLED
    with beside(daemon, tmp_path_factory.mktemp("firewall"), high=0, more=networks) as process:
        ip("address", "delete", "10.80.0.1/24", "dev", "lvtest1")
        ip("route", "add", "10.80.0.0/24", "via", OUTER)
        yield process
    for bridge in ("lvtest0", "lvtest1"):
        ip("link", "delete", bridge)


def ip(*arguments: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *arguments], check=True)


def reaches(target: str, port: int = 80) -> bool:
    """Whether a web server answers."""
    url = f"http://{target}:{port}/healthz"
    done = subprocess.run(
        ["curl", "-sS", "-m", "3", url], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() == "ok"


def test_what_the_rules_allow_passes_and_nothing_else(client: Client) -> None:
    web, other = (
        client.create(
            HTTP, nets=[NetRequest(network="inner")], cmdline=f"port={port}", wait=WaitFor.READY
        )
        for port in (80, 81)
    )
    wall = client.create(FIREWALL, name="wall", nets=NETS, metadata=RULES, wait=WaitFor.READY)
    assert reaches(address(web))
    assert not reaches(address(other), 81)
    subprocess.run(["ping", "-q", "-c", "2", address(web)], check=True, capture_output=True)
    eventually(
        lambda: b"81" in client.console_read("wall").data, "what is denied is told on the console"
    )
    client.destroy(wall.domain.uuid)
    assert not reaches(address(web))


def test_a_list_that_is_none_is_refused_by_the_guest(client: Client) -> None:
    client.create(FIREWALL, name="wall", nets=NETS, metadata=b"allow everything\n")
    domain = client.wait("wall", WaitFor.EXITED)
    assert domain.exit is not None
    assert domain.exit.status == 2
    assert b"1" in client.console_read("wall").data
