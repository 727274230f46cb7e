"""Unmodified guests: Debian's own kernel, which finds its devices in XenStore.

They are restarted where they crash: Linux measures its clock with 50,000 reads of a port, one exit to Xen each, and in
one of some boots the emulated processor loses the guest's state at such an exit, under xl as well.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lightvm.blocking import Client
from lightvm.errors import NoSuchDomain
from lightvm.model import DiskRequest, Domain, ExitReason, Mode, NetRequest, Policy, Source
from tests.lab.daemon import DaemonProcess, beside, eventually
from tests.lab.linux import KERNEL, MEMORY_KIB, make_initrd
from tests.lab.network import BRIDGE, NETWORK

FLAVOR = f"""
[flavors.linux]
mode = "xenstore"
memory_kib = {MEMORY_KIB}
vcpus = 2
networks = ["default"]
disks = 1
low = 4
high = 4
"""
PLACE = "10.78.0.90"
NET = [NetRequest(network="default", ipv4=PLACE)]
BOOT_SECONDS = 240


@pytest.fixture(scope="module")
def daemon(
    daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """A daemon with shells for such guests, beside the other one, whose pool stays full meanwhile."""
    directory = tmp_path_factory.mktemp("xenstore")
    with beside(daemon, directory, high=4, more=NETWORK + FLAVOR) as process:
        yield process
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_initrd(tmp_path_factory.mktemp("linux") / "initrd")


def says(client: Client, name: str, text: str) -> None:
    """Wait until a guest has said something."""
    heard = b""

    def has_said() -> bool:
        nonlocal heard
        with suppress(NoSuchDomain):  # for a moment, where it is restarted
            heard = client.console_read(name).data
        return text.encode() in heard

    try:
        eventually(has_said, f"{name} says {text!r}", BOOT_SECONDS)
    except AssertionError:
        print(heard[-4000:].decode("utf-8", "replace"))
        raise


def tree(path: str) -> set[str]:
    """Return all paths below one."""
    done = subprocess.run(["xenstore-ls", "-f", path], capture_output=True, text=True, check=False)
    return {line.partition(" = ")[0] for line in done.stdout.splitlines()}


def gone(domain: Domain) -> bool:
    """Whether nothing in XenStore is of a domain."""
    parts = {str(domain.domid), domain.uuid}
    return not any(parts & set(path.split("/")) for path in tree("/"))


@pytest.mark.linux
def test_debians_kernel_boots_answers_and_stops(
    client: Client, initrd: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"sixteen letters!" + bytes((1 << 20) - 16))
    created = client.create(
        KERNEL,
        name="debian",
        modules=[initrd],
        cmdline=f"console=hvc0 disk address={PLACE}",
        nets=NET,
        disks=[DiskRequest(path=str(disk))],
        on_crash=Policy.RESTART,
    )
    assert (created.source, created.domain.mode) == (Source.POOL, Mode.XENSTORE)
    (vif,) = created.domain.vifs
    says(client, "debian", f"up: cpus 0-1 mac {vif.mac}")
    console = client.console_read("debian").data
    assert b"disk of 2048 sectors" in console
    assert b"sixteen letters!" in console
    subprocess.run(["ping", "-c", "1", "-W", "10", PLACE], check=True)
    stopped = client.stop("debian", timeout_ms=60_000)
    assert stopped.exit is not None
    assert stopped.exit.reason is ExitReason.POWEROFF
    client.destroy("debian")
    eventually(lambda: gone(created.domain) and gone(stopped), "its nodes are gone")


@pytest.mark.linux
def test_a_guest_without_a_shell_has_its_network_and_is_made_anew_when_it_reboots(
    client: Client, initrd: str
) -> None:
    created = client.create(
        KERNEL,
        name="again",
        modules=[initrd],
        cmdline=f"console=hvc0 address={PLACE}",
        nets=NET,
        on_crash=Policy.RESTART,
    )
    assert created.source is Source.COLD  # it runs before its vif is in a bridge
    says(client, "again", "up: ")
    subprocess.run(["ping", "-c", "1", "-W", "10", PLACE], check=True)
    client.console_write("again", b"hello\n")
    says(client, "again", "heard hello")
    console = subprocess.run(
        ["timeout", "10", "xl", "console", "again"],
        input=b"",
        capture_output=True,
        check=False,
    )
    assert b"heard hello" in console.stdout, console.stderr
    first = client.info("again")
    second = client.restart("again", timeout_ms=60_000).domain
    assert second.uuid != first.uuid
    assert second.vifs == first.vifs
    says(client, "again", "up: ")


def test_a_guest_that_xl_destroys_leaves_nothing(client: Client) -> None:
    domain = client.create(KERNEL, name="foreign", paused=True, nets=NET).domain
    listed = ["xl", "domid", "foreign"]
    eventually(lambda: not subprocess.run(listed, check=False).returncode, "xl knows its name")
    subprocess.run(["xl", "destroy", "foreign"], check=True)
    eventually(lambda: client.info("foreign").exit is not None, "its end is noticed")
    assert (exit_ := client.info("foreign").exit) is not None
    assert exit_.reason is ExitReason.LOST
    eventually(lambda: gone(domain), "its nodes are gone")
