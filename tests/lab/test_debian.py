"""Guests of Debian's archive, as they are, under LightVM and under xl; prints how long each took to answer.

Each is made of one configuration that both toolstacks read. `on_crash` is for the emulator (`tests/lab/emulator.py`).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightvm.blocking import Client
from tests.lab import debian
from tests.lab.daemon import DaemonProcess, eventually
from tests.lab.linux import KERNEL, make_initrd
from tests.lab.network import BRIDGE, HOST
from tests.lab.toolstacks import Lightvm, Toolstack, Xl

pytestmark = pytest.mark.guests

BOOT_SECONDS = 900
PLACE = "10.78.0.92"
CONFIG = """
type = "pvh"
name = "{name}"
kernel = "{kernel}"
memory = {memory}
vcpus = 1
vif = ["bridge={bridge},mac=02:00:00:00:00:5c,ip={place}"]
on_crash = "restart"
{more}
"""


@pytest.fixture(scope="module")
def daemon(daemon: DaemonProcess, network_daemon: DaemonProcess) -> DaemonProcess:
    """The daemon with a network."""
    return network_daemon


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of the guests."""
    if not debian.DRIVE.exists():
        pytest.skip("the drive with guests is not plugged in: tools/lab guests")
    with debian.mounted(debian.DRIVE, tmp_path_factory.mktemp("drive") / "guests") as directory:
        yield directory


@pytest.fixture(scope="module")
def key(guests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key of the whole system."""
    directory = tmp_path_factory.mktemp("key")
    key = directory / "key"
    debian.settle_in(
        guests / "root.img", directory / "root", address=f"{PLACE}/24", gateway=HOST, key=key
    )
    return key


@pytest.fixture(params=["lightvm", "xl"])
def toolstack(request: pytest.FixtureRequest, daemon: DaemonProcess, client: Client) -> Toolstack:
    """One toolstack after the other."""
    return Lightvm(client, daemon.socket) if request.param == "lightvm" else Xl()


@contextmanager
def booted(
    toolstack: Toolstack,
    directory: Path,
    name: str,
    kernel: str,
    memory: int,
    *more: str,
    says: str,
) -> Iterator[None]:
    """Have a guest that has said something; prints how long that took from the command on."""
    config = directory / f"{name}.cfg"
    config.write_text(
        CONFIG.format(
            name=name,
            kernel=kernel,
            memory=memory,
            bridge=BRIDGE,
            place=PLACE,
            more="\n".join(more),
        )
    )
    begun = time.monotonic()
    toolstack.create(config)
    made = time.monotonic() - begun
    try:
        wait_for(toolstack, name, says)
        took = time.monotonic() - begun
        print(
            f"{name} under {type(toolstack).__name__}: {made:.1f} s to create, {took:.1f} to answer"
        )
        yield
    finally:
        toolstack.destroy(name)


def wait_for(toolstack: Toolstack, name: str, text: str) -> None:
    """Wait until a guest has said something."""
    try:
        eventually(lambda: text.encode() in toolstack.heard(name), f"{text!r}", BOOT_SECONDS)
    except AssertionError:
        print(toolstack.heard(name)[-4000:].decode("utf-8", "replace"))
        raise


def test_debians_kernel_with_a_small_initrd(toolstack: Toolstack, tmp_path: Path) -> None:
    initrd = make_initrd(tmp_path / "initrd")
    more = f'ramdisk = "{initrd}"\ncmdline = "console=hvc0 address={PLACE}"'
    with booted(toolstack, tmp_path, "small", KERNEL, 256, more, says="up: "):
        subprocess.run(["ping", "-c", "1", "-W", "10", PLACE], check=True)


def test_debians_installer_asks_and_hears(
    toolstack: Toolstack, tmp_path: Path, guests: Path
) -> None:
    more = (
        f'ramdisk = "{guests / "initrd.gz"}"\n'
        'cmdline = "console=hvc0 DEBIAN_FRONTEND=text priority=low"'
    )
    with booted(
        toolstack, tmp_path, "installer", str(guests / "linux"), 1024, more, says="main menu"
    ):
        toolstack.say("installer", b"?\n")
        wait_for(toolstack, "installer", "KEYSTROKES")


def test_a_whole_debian_behind_grub(
    toolstack: Toolstack, tmp_path: Path, guests: Path, key: Path
) -> None:
    more = f'disk = ["{guests / "root.img"},raw,xvda,rw"]'
    with booted(toolstack, tmp_path, "whole", str(guests / "grub"), 512, more, says="login:"):
        assert debian.ssh(PLACE, key, "hostname").strip() == "guest"
        assert debian.ssh(PLACE, key, "findmnt -no SOURCE /").strip() == "/dev/xvda"
        debian.ssh(PLACE, key, "poweroff")
