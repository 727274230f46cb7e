"""`lvm` beside Debian's real LVM2."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.daemon import BIN, DaemonProcess


def lvm(*arguments: str, socket: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "LIGHTVM_SOCKET": socket}
    return subprocess.run(
        ["lvm", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


@pytest.mark.skipif(not Path("/sbin/lvm").exists(), reason="no LVM2 here")
@pytest.mark.parametrize("arguments", [("pvs",), ("vgs", "--noheadings"), ("lvs", "--version")])
def test_lvm2s_verbs_answer_as_lvm2_does(arguments: tuple[str, ...]) -> None:
    ours = lvm(*arguments)
    theirs = subprocess.run(
        ["/sbin/lvm", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


def test_our_verbs_are_ours(daemon: DaemonProcess) -> None:
    done = lvm("pool", socket=daemon.socket)
    assert done.returncode == 0
    assert "tiny" in done.stdout
