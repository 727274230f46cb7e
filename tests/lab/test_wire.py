"""Stock Varlink clients call every method: the `varlink` package, and `varlinkctl` where systemd has it."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import varlink

from lightvm.blocking import Client
from lightvm.calls import INTERFACE, METHODS
from lightvm.model import WaitFor
from tests.lab.daemon import HELLO, NOOP, DaemonProcess

CALLS: dict[str, dict[str, object]] = {
    "Create": {"request": {"image": NOOP, "name": "by-stock"}},
    "CreateMany": {"requests": [{"image": NOOP, "name": "m1"}, {"image": NOOP, "name": "m2"}]},
    "List": {},
    "Foreign": {},
    "Info": {"domain": "stock"},
    "Pause": {"domain": "stock"},
    "Unpause": {"domain": "stock"},
    "Console": {"domain": "talker"},
    "Wait": {"domain": "stock", "until": "ready"},
    "ConsoleWrite": {"domain": "stock", "data": "aGkK"},
    "Restart": {"domain": "stock"},
    "Stop": {"domain": "stock"},
    "Flavors": {},
    "PoolStatus": {},
    "Services": {},
    "AddService": {
        "service": {
            "name": "web",
            "image": NOOP,
            "network": "default",
            "addresses": ["10.78.0.200-10.78.0.209"],
            "idle_seconds": 5.5,
        }
    },
    "RemoveService": {"name": "web"},
    "Doctor": {},
    "Version": {},
    "Destroy": {"domain": "stock"},
}


@pytest.fixture(scope="module")
def daemon(daemon: DaemonProcess, network_daemon: DaemonProcess) -> DaemonProcess:
    """The daemon with a network, which a service needs."""
    return network_daemon


def prepare(client: Client) -> None:
    client.create(NOOP, name="stock", wait=WaitFor.READY)
    client.create(HELLO, name="talker")
    client.wait("talker", WaitFor.EXITED)


def test_every_method_is_called_here() -> None:
    ours = {name.rpartition(".")[2] for name in METHODS if name.startswith(f"{INTERFACE}.")}
    assert ours == CALLS.keys() | {"Watch"}


def test_varlink_package_calls_every_method(client: Client, daemon: DaemonProcess) -> None:
    prepare(client)
    with varlink.Client(address=f"unix:{daemon.socket}") as stock, stock.open(INTERFACE) as service:
        for method, arguments in CALLS.items():
            assert getattr(service, method)(**arguments) is not None, method
        with pytest.raises(varlink.VarlinkError) as caught:
            service.Info(domain="nobody")
        assert caught.value.error() == f"{INTERFACE}.NoSuchDomain"


def test_varlink_package_follows_events(client: Client, daemon: DaemonProcess) -> None:
    with varlink.Client(address=f"unix:{daemon.socket}") as stock, stock.open(INTERFACE) as service:
        events = service.Watch(_more=True)
        assert next(events).get("event") is None  # the watch is in place
        client.create(NOOP, name="watched")
        event = next(events)["event"]
        assert (event["kind"], event["domain"]["name"]) == ("created", "watched")


@pytest.mark.smoke
def test_varlinkctl_calls_every_method(client: Client, daemon: DaemonProcess) -> None:
    if shutil.which("varlinkctl") is None:
        pytest.skip("this systemd has no varlinkctl")
    prepare(client)

    def ctl(*arguments: str) -> str:
        done = subprocess.run(
            ["varlinkctl", *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    address = f"unix:{daemon.socket}"
    assert INTERFACE in ctl("info", address)
    assert "method CreateMany" in ctl("introspect", address, INTERFACE)
    for method, arguments in CALLS.items():
        reply = ctl("-j", "call", address, f"{INTERFACE}.{method}", json.dumps(arguments))
        assert isinstance(json.loads(reply), dict), method
