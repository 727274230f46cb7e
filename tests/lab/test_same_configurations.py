"""The same configuration given to `xl` and to `lightvm` makes equivalent guests: in XenStore and in Xen."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from lightvm.blocking import Client
from tests.lab.daemon import DaemonProcess, command, eventually
from tests.lab.equivalence import compare, described, nodes_of, said, settled
from tests.lab.linux import KERNEL
from tests.lab.network import BRIDGE

LEAST = """
type = "pvh"
name = "both"
kernel = "{kernel}"
"""
VIF = "bridge={bridge},mac=02:00:00:00:00:4f,ip=10.78.0.90"
OTHER_VIF = "bridge={bridge},mac=02:00:00:00:00:50,ip=10.78.0.91"
CONFIGURATIONS = {
    "memory": LEAST + "memory = 128",
    "odd memory": LEAST + "memory = 137\nmaxmem = 137",
    "vcpus": LEAST + "memory = 128\nvcpus = 3",
    "command line": LEAST + "memory = 256\nramdisk = '{initrd}'\ncmdline = 'console=hvc0 quiet'",
    "root and extra": LEAST + "memory = 128\nroot = '/dev/xvda ro'\nextra = '3'",
    "one vif": LEAST + f"memory = 128\nvif = ['{VIF}']",
    "two vifs": LEAST + f"memory = 128\nvif = ['{VIF}', '{OTHER_VIF}']",
    "a disk": LEAST + "memory = 128\ndisk = ['{disk},raw,xvda,rw']",
    "a disk by its keys": LEAST
    + "memory = 128\ndisk = ['format=raw,vdev=xvda,access=rw,target={disk}']",
    "two disks": LEAST + "memory = 128\ndisk = ['{disk},,xvda,rw', 'file:{other},xvdb,w']",
    "a disk that is read": LEAST + "memory = 128\ndisk = ['{disk},raw,xvda,ro']",
    "policies": LEAST
    + "memory = 128\non_poweroff = 'preserve'; on_reboot = 'destroy'\non_crash = 'restart'",
    "processors": LEAST + "memory = 128\nvcpus = 2\ncpus = ['0', '1']",
    "processors of all": LEAST + "memory = 128\nvcpus = 2\ncpus = 'all,^1'",
    "weight and cap": LEAST + "memory = 128\ncpu_weight = 512\ncap = 50",
    "everything": LEAST
    + "memory = 256\nvcpus = 2\nramdisk = '{initrd}'\ncmdline = 'console=hvc0'\n"
    + f"vif = ['{VIF}']\ndisk = ['{{disk}},raw,xvda,rw']\ncpus = '1'\ncpu_weight = 100",
}
SMOKE = {"everything"}
ALWAYS = {"policies", "two vifs", "a disk that is read", "weight and cap"}
"""The others take their minutes in the layer `scale`."""


def marks_of(name: str) -> Collection[pytest.MarkDecorator]:
    """Return the marks of a configuration."""
    if name in SMOKE:
        return [pytest.mark.smoke]
    return [] if name in ALWAYS else [pytest.mark.scale]


@pytest.fixture(scope="module")
def daemon(daemon: DaemonProcess, network_daemon: DaemonProcess) -> DaemonProcess:
    """The daemon with a network."""
    return network_daemon


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=marks_of(name)) for name in CONFIGURATIONS],
)
def test_both_make_the_same(
    daemon: DaemonProcess, client: Client, tmp_path: Path, name: str
) -> None:
    files = {"disk": tmp_path / "disk.img", "other": tmp_path / "other.img"}
    for file in (*files.values(), tmp_path / "initrd"):
        file.write_bytes(bytes(1 << 20))
    config = tmp_path / "both.cfg"
    config.write_text(
        CONFIGURATIONS[name].format(
            kernel=KERNEL, initrd=tmp_path / "initrd", bridge=BRIDGE, **files
        )
    )
    subprocess.run(["xl", "create", "-pq", config], check=True, timeout=120)
    try:
        domid = int(said("xl", "domid", "both"))
        (uuid,) = [
            word
            for word in said("xl", "list", "-v", "both").splitlines()[1].split()
            if word.count("-") == 4 and len(word) == 36
        ]
        eventually(lambda: settled(domid), "libxl's back-ends are there")
        theirs, their_xen = nodes_of(domid, uuid), described("both")
    finally:
        subprocess.run(["xl", "destroy", "both"], check=True)
    command("create", str(config), "--paused", socket=daemon.socket)
    domain = client.info("both")
    eventually(lambda: settled(domain.domid), "our back-ends are there")
    compare(theirs, nodes_of(domain.domid, domain.uuid))
    assert described("both") == their_xen
