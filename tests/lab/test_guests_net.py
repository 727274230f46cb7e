"""Unikernels with TCP/IP, called from the host over a bridge."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading

import pytest

from lightvm.blocking import Client
from lightvm.model import WaitFor
from tests.lab.daemon import GUESTS, DaemonProcess, eventually
from tests.lab.network import NET, address

HTTP, ECHO = (str(GUESTS / name) for name in ("http", "echo"))


@pytest.fixture(scope="module")
def daemon(daemon: DaemonProcess, network_daemon: DaemonProcess) -> DaemonProcess:
    """The daemon with a network."""
    return network_daemon


@pytest.fixture
def web(client: Client) -> str:
    """The address of a web server."""
    created = client.create(
        HTTP, name="web", nets=NET, metadata=b"<b>& user data</b>", wait=WaitFor.READY
    )
    return address(created)


@pytest.mark.smoke
def test_curl_gets_a_page(web: str) -> None:
    done = subprocess.run(
        ["curl", "-sS", "-i", f"http://{web}/"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("HTTP/1.1 200 ")
    assert "web" in done.stdout
    assert "&lt;b&gt;&amp; user data" in done.stdout
    health = subprocess.run(
        ["curl", "-sS", f"http://{web}/healthz"], capture_output=True, text=True, check=True
    )
    assert health.stdout.strip() == "ok"


def test_a_connection_serves_many_requests(web: str) -> None:
    connection = http.client.HTTPConnection(web, timeout=20)
    for path, status in (("/", 200), ("/healthz", 200), ("/none", 404), ("/healthz", 200)):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.request("POST", "/", body=b"")
    assert connection.getresponse().status == 405
    connection.close()


def test_several_connections_are_served_at_once(web: str) -> None:
    idle = [socket.create_connection((web, 80), 20) for _ in range(4)]
    done = subprocess.run(["curl", "-sS", f"http://{web}/healthz"], capture_output=True, check=True)
    assert done.stdout.strip() == b"ok"
    for connection in idle:
        connection.close()


def test_nonsense_is_answered_and_harms_nobody(web: str) -> None:
    for nonsense in (b"\r\n\r\n\0\0\0", b"GET " + b"x" * 20_000, b"\xff" * 500 + b"\r\n\r\n"):
        with socket.create_connection((web, 80), 20) as connection:
            try:
                connection.sendall(nonsense)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100)[:12] in (b"HTTP/1.1 400", b"")
            except OSError:
                pass  # it hung up in the middle, as it may
    assert (
        subprocess.run(["curl", "-sS", "-f", f"http://{web}/"], capture_output=True).returncode == 0
    )


def test_echo_gives_back_a_mebibyte_in_order(client: Client) -> None:
    target = address(client.create(ECHO, nets=NET, wait=WaitFor.READY))
    sent = bytes(range(256)) * 4096
    with socket.create_connection((target, 7), 30) as connection:
        sender = threading.Thread(target=lambda: connection.sendall(sent))
        sender.start()
        received = bytearray()
        while len(received) < len(sent):
            data = connection.recv(65536)
            assert data
            received += data
        sender.join()
    assert received == sent


def test_echo_answers_datagrams(client: Client) -> None:
    target = address(client.create(ECHO, nets=NET, wait=WaitFor.READY))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(10)
        for n in (0, 1, 500, 1472):
            caller.sendto(b"d" * n, (target, 7))
            assert caller.recv(2000) == b"d" * n


def test_many_guests_answer_at_once(client: Client, daemon: DaemonProcess) -> None:
    """Twenty of them; the benchmark has more."""
    made = [client.create(ECHO, nets=NET, wait=WaitFor.READY) for _ in range(20)]
    sockets = [socket.create_connection((address(created), 7), 30) for created in made]
    for index, connection in enumerate(sockets):
        connection.sendall(b"%d" % index)
    for index, connection in enumerate(sockets):
        assert connection.recv(10) == b"%d" % index
        connection.close()
    eventually(lambda: len(client.list()) == len(made), "all are there")
