"""A power cut of the host while a guest writes: what the guest was told is durable, is there afterwards."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path

import pytest
from xenlab.lab import Lab

SECTOR, SECTORS = 512, 32768
IMAGE, CONFIG, LOG = "/var/lib/power-cut.img", "/root/power-cut.toml", "/root/power-cut.log"
FLAVORS = "[flavors.disk]\ndisks = 1\nlow = 1\nhigh = 1\n"
START = f"systemctl stop lightvmd.socket lightvmd; setsid lightvmd --config {CONFIG} >{LOG} 2>&1 </dev/null &"
GUEST = "/opt/lightvm/lib/python3*/site-packages/lightvm/guests/disk"
ENOUGH = 100
PATIENCE = 120.0


def dom0(lab: Lab, command: str) -> str:
    """Run a command in dom0, which must not fail; return what it prints."""
    return lab.run(f"PATH=/opt/lightvm/bin:$PATH; {command}", check=True).stdout


def wait_until(lab: Lab, command: str) -> None:
    """Wait until a command in dom0 succeeds."""
    deadline = time.monotonic() + PATIENCE
    while lab.run(f"PATH=/opt/lightvm/bin:$PATH; {command} >/dev/null 2>&1").returncode:
        assert time.monotonic() < deadline, f"{command}\n{dom0(lab, f'cat {LOG}')}"
        time.sleep(1)


def start_daemon(lab: Lab) -> None:
    """Start the daemon, and wait until it has a shell with a disk."""
    dom0(lab, START)
    wait_until(lab, "lightvm pool --format json | grep -q '\"shells\": *1'")


def last_durable(lab: Lab) -> int:
    """Return the number of the last record that the guest was told is durable."""
    said = dom0(lab, "lightvm console --print writer")
    return max(map(int, re.findall(r"durable (\d+)\n", said)), default=0)


# A lab outlives who starts it, so Python warns of its QEMU.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_was_flushed_survives(lab: Lab, tmp_path: Path) -> None:
    lab.install()
    lab.run(["tee", CONFIG], data=FLAVORS, check=True)
    for number in range(2):
        start_daemon(lab)
        # All allocated before: the lab's file system has no journal, and may lose what a file grew by.
        dom0(lab, f"head -c {SECTORS * SECTOR} /dev/zero > {IMAGE}; sync")
        dom0(lab, f"lightvm create {GUEST} --name writer --disk {IMAGE} --cmdline log")
        deadline = time.monotonic() + PATIENCE
        while (last := last_durable(lab)) < ENOUGH:
            assert time.monotonic() < deadline, f"{last} records"
        lab.reset()
        lab.pull(IMAGE, to=tmp_path / str(number))
        check_records(tmp_path / str(number), last)
        print(f"{last} records were durable before the power cut, and are there after it")
    # The host starts as one that has never had guests, and the disk is as good as any.
    start_daemon(lab)
    dom0(lab, "lightvm doctor")
    dom0(lab, f"lightvm create {GUEST} --name verifier --disk {IMAGE}")
    wait_until(lab, "lightvm list --all --format json | grep -q '\"status\": *0'")


def check_records(image: Path, last: int) -> None:
    """Check that each record up to the last is whole, in its sector."""
    found = image.read_bytes()
    assert len(found) == SECTORS * SECTOR
    for record in range(1, last + 1):
        words = struct.unpack_from(f"<{SECTOR // 4}I", found, record % SECTORS * SECTOR)
        assert set(words) == {record}, f"record {record} of {last}"
