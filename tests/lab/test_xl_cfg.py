"""A configuration of xl's on real Xen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lightvm.blocking import Client
from tests.lab.daemon import BIN, DAYTIME, DaemonProcess, eventually
from tests.lab.network import BRIDGE
from tests.lab.test_network import daytime


@pytest.fixture(scope="module")
def daemon(daemon: DaemonProcess, network_daemon: DaemonProcess) -> DaemonProcess:
    """The daemon with a network."""
    return network_daemon


def create(daemon: DaemonProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "lightvm", "--socket", daemon.socket, "create", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_configuration_of_xl_makes_a_guest_that_answers(
    daemon: DaemonProcess, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "clock.cfg"
    path.write_text(f"""
type = "pvh"
name = "clock"
kernel = "{DAYTIME}"
memory = 16
vcpus = 1
vif = [ 'bridge={BRIDGE}, mac=02:00:00:00:00:4e, ip=10.78.0.78' ]
on_crash = "preserve"
""")
    done = create(daemon, str(path), "memory=8", "--wait", "ready")
    assert done.returncode == 0, done.stderr
    domain = client.info("clock")
    assert (domain.memory_kib, domain.vcpus) == (8192, 1)
    assert (domain.vifs[0].mac, domain.vifs[0].ipv4) == ("02:00:00:00:00:4e", "10.78.0.78/24")
    daytime("10.78.0.78")
    listing = ["xl", "list", "clock"]
    eventually(lambda: not subprocess.run(listing, check=False).returncode, "xl knows its name")


def test_what_is_not_supported_makes_none(
    daemon: DaemonProcess, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "bad.cfg"
    path.write_text(f"type = 'pvh'\nname = 'bad'\nkernel = '{DAYTIME}'\nvnc = 1\n")
    done = create(daemon, str(path))
    assert done.returncode != 0
    assert f"{path}:4: vnc" in done.stderr
    assert "bad" not in [domain.name for domain in client.list(all=True)]
