"""Guests with disks: connected to stock blkback before they exist, bound to a file when they are taken."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightvm.blocking import Client
from lightvm.daemon.disk.loops import FIRST_NUMBER
from lightvm.errors import BadDisk, DiskInUse, TimedOut
from lightvm.model import Created, DiskRequest, Domain, Source, WaitFor
from tests.lab.daemon import GUESTS, DaemonProcess, beside, eventually, nodes

DISK = str(GUESTS / "disk")
FLAVOR = """
[flavors.disk]
disks = 1
low = 2
high = 2
"""
MIB = 1 << 20


@pytest.fixture(scope="module")
def daemon(
    daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """A daemon with disks, beside the other one, whose pool stays full meanwhile."""
    held = (loops, lambda: nodes("vbd"))
    with beside(
        daemon, tmp_path_factory.mktemp("disks"), high=2, more=FLAVOR, held=held
    ) as process:
        yield process


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An empty disk image of 8 MiB."""
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 8 * MIB)
    return path


def loops() -> set[str]:
    """Return the loop devices that are ours."""
    names = (path.name for path in Path("/sys/block").glob("loop*"))
    return {name for name in names if int(name.removeprefix("loop")) >= FIRST_NUMBER}


def run(client: Client, *disks: DiskRequest, cmdline: str = "") -> tuple[Created, Domain, str]:
    """Run a guest to its end; return it, and what it said."""
    created = client.create(DISK, disks=disks, cmdline=cmdline)
    ended = client.wait(created.domain.uuid, WaitFor.EXITED, timeout_ms=120_000)
    said = client.console_read(created.domain.uuid).data.decode()
    client.destroy(created.domain.uuid)
    return created, ended, said


def status(ended: Domain) -> int | None:
    """Return a guest's own verdict."""
    assert ended.exit is not None
    return ended.exit.status


@pytest.mark.smoke
def test_64_mib_are_written_and_verified_on_a_file(client: Client, image: Path) -> None:
    os.truncate(image, 64 * MIB)
    created, ended, said = run(client, DiskRequest(path=str(image)))
    assert (created.source, status(ended)) == (Source.POOL, 0), said
    print(said)
    assert created.domain.vbds[0].size_bytes == 64 * MIB
    words = memoryview(image.read_bytes()).cast("I")
    assert words[1000] == 1000 * 2654435761 % 2**32
    _, ended, said = run(client, DiskRequest(path=str(image)), cmdline="check")
    assert status(ended) == 0, said


@pytest.mark.smoke
def test_64_mib_are_written_and_verified_on_a_block_device(client: Client, image: Path) -> None:
    os.truncate(image, 64 * MIB)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        _, ended, said = run(client, DiskRequest(path=device))
        assert status(ended) == 0, said
        print(said)
        _, ended, said = run(client, DiskRequest(path=device, readonly=True), cmdline="check")
        assert status(ended) == 0, said
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_read_only_disk_is_read_only_whatever_the_guest_tries(
    client: Client, image: Path
) -> None:
    _, ended, said = run(client, DiskRequest(path=str(image), readonly=True), cmdline="overwrite")
    assert status(ended) == 0, said
    assert not any(image.read_bytes())


def test_what_is_discarded_takes_no_room(client: Client, image: Path) -> None:
    image.write_bytes(b"x" * 8 * MIB)
    _, ended, said = run(client, DiskRequest(path=str(image)), cmdline="discard")
    assert status(ended) == 0, said
    assert image.stat().st_blocks == 0


def test_a_disk_has_one_writer_or_many_readers(client: Client, image: Path) -> None:
    writing, reading = (DiskRequest(path=str(image), readonly=ro) for ro in (False, True))
    writer = client.create(DISK, disks=[writing], cmdline="log")
    for request in (writing, reading):
        with pytest.raises(DiskInUse):
            client.create(DISK, disks=[request])
    client.destroy(writer.domain.uuid)
    readers = [client.create(DISK, disks=[reading], paused=True) for _ in range(3)]
    with pytest.raises(DiskInUse):
        client.create(DISK, disks=[writing])
    for reader in readers:
        client.destroy(reader.domain.uuid)
    client.destroy(client.create(DISK, disks=[writing], paused=True).domain.uuid)


def test_the_rule_outlives_the_daemon(client: Client, daemon: DaemonProcess, image: Path) -> None:
    request = DiskRequest(path=str(image))
    client.create(DISK, name="writer", disks=[request], cmdline="log", wait=WaitFor.READY)
    daemon.kill()
    daemon.start()
    with Client(daemon.socket) as after:
        assert after.info("writer").vbds[0].path == str(image)
        with pytest.raises(DiskInUse):
            after.create(DISK, disks=[request])
        after.destroy("writer")
        after.create(DISK, disks=[request], paused=True)


def test_a_mounted_device_is_not_written(client: Client, image: Path, tmp_path: Path) -> None:
    subprocess.run(["mke2fs", "-q", "-F", image], check=True)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / "mnt").mkdir()
    subprocess.run(["mount", device, tmp_path / "mnt"], check=True)
    try:
        with pytest.raises(DiskInUse):
            client.create(DISK, disks=[DiskRequest(path=device)])
    finally:
        subprocess.run(["umount", tmp_path / "mnt"], check=True)
        subprocess.run(["losetup", "--detach", device], check=True)


def test_what_is_no_disk_is_refused_and_costs_no_shell(
    client: Client, image: Path, tmp_path: Path
) -> None:
    os.truncate(image, 1000)
    os.mkfifo(tmp_path / "pipe")
    before = {pool.flavor: pool.hits for pool in client.pool_status()}
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", image, Path("/dev/null")):
        with pytest.raises(BadDisk, match=str(path)):
            client.create(DISK, disks=[DiskRequest(path=str(path))])
    assert {pool.flavor: pool.hits for pool in client.pool_status()} == before


def test_a_cold_guest_may_have_two_disks(client: Client, image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(bytes(MIB))
    created, ended, said = run(
        client, DiskRequest(path=str(image)), DiskRequest(path=str(other), readonly=True)
    )
    assert (created.source, status(ended)) == (Source.COLD, 0), said
    assert [vbd.size_bytes for vbd in created.domain.vbds] == [8 * MIB, MIB]


def test_what_was_said_to_be_durable_is_in_the_file(client: Client, image: Path) -> None:
    created = client.create(DISK, disks=[DiskRequest(path=str(image))], cmdline="log")
    uuid = created.domain.uuid

    def last() -> int:
        words = client.console_read(uuid).data.split()
        return int(words[-1]) if words and words[-1].isdigit() else 0

    with pytest.raises(TimedOut):
        client.wait(uuid, WaitFor.EXITED, timeout_ms=1000)
    eventually(lambda: last() > 10, "some records are durable")
    durable = last()
    client.destroy(uuid)
    words = memoryview(image.read_bytes()).cast("I")
    assert [words[record * 128] for record in range(1, durable)] == list(range(1, durable))
