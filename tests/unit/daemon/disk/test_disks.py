"""Files of disks: opened and locked, all or none."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightvm.daemon.disk.disks import OpenDisk, close_disks, open_disks
from lightvm.errors import BadDisk, DiskInUse, LightVMError
from lightvm.model import DiskRequest, Vbd


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "disk").write_bytes(bytes(1536))
    return str(tmp_path / "disk")


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


@contextmanager
def opened(*paths: str, readonly: bool | None = None) -> Iterator[tuple[OpenDisk, ...]]:
    """Hold disks open for the length of a block."""
    disks = open_disks([DiskRequest(path=path, readonly=readonly) for path in paths])
    try:
        yield disks
    finally:
        close_disks(disks)


def refused(error: type[LightVMError], *paths: str, readonly: bool | None = None) -> str:
    """Return what an error says that must come."""
    with pytest.raises(error) as caught, opened(*paths, readonly=readonly):
        pass
    return str(caught.value)


def test_a_disk_has_its_size(path: str) -> None:
    with opened(path) as (disk,):
        assert disk.describe() == Vbd(path=path, size_bytes=1536, readonly=False)


@pytest.mark.parametrize("readonly", [None, False, True])
def test_a_disk_can_be_written_unless_that_is_not_wanted(path: str, readonly: bool | None) -> None:
    with opened(path, readonly=readonly) as (disk,):
        mode = fcntl.fcntl(disk.fd, fcntl.F_GETFL) & os.O_ACCMODE
        assert mode == (os.O_RDONLY if readonly else os.O_RDWR)
        assert disk.describe().readonly is bool(readonly)


def test_a_guest_is_told_size_and_mode(path: str) -> None:
    with opened(path) as (disk,):
        assert disk.pack() == bytes([3, *[0] * 7, 0, 2, 0, 0, 6, 0, 0, 0])
    with opened(path, readonly=True) as (disk,):
        assert disk.pack()[12:] == bytes([1, 0, 0, 0])


def test_a_disk_is_not_inherited_by_other_programs_and_blocks_as_files_do(path: str) -> None:
    with opened(path) as (disk,):
        assert not os.get_inheritable(disk.fd)
        assert os.get_blocking(disk.fd)


def test_a_link_leads_to_its_file(path: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with opened(str(tmp_path / "link")):
        refused(DiskInUse, path)


# What is no disk


@pytest.mark.parametrize("size", [0, 1, 511, 513, 1537])
def test_a_size_that_is_no_number_of_sectors_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "odd").write_bytes(bytes(size))
    assert f"{size} bytes" in refused(BadDisk, str(tmp_path / "odd"))


def test_one_sector_is_enough(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(512))
    with opened(str(tmp_path / "small")) as (disk,):
        assert disk.size_bytes == 512


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("kind", ["missing", "directory", "pipe", "socket", "device"])
def test_what_is_neither_file_nor_block_device_is_refused_at_once(
    tmp_path: Path, kind: str, readonly: bool
) -> None:
    path = tmp_path / kind
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(path))
        case "device":
            path = Path("/dev/null")
    assert f"request.disks[0]: {path}" in refused(BadDisk, str(path), readonly=readonly)


# One writer, or any number of readers


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
    ids=["two writers", "writer and reader", "reader and writer", "two readers"],
)
def test_a_file_has_one_writer_or_any_number_of_readers(
    path: str, first: bool, second: bool, both: bool
) -> None:
    with opened(path, readonly=first):
        if both:
            with opened(path, readonly=second):
                pass
        else:
            refused(DiskInUse, path, readonly=second)


def test_a_file_that_is_closed_is_free(path: str) -> None:
    with opened(path):
        pass
    with opened(path):
        pass


def test_a_file_stays_locked_while_somebody_holds_it_open(path: str) -> None:
    with opened(path) as (disk,):
        held = os.dup(disk.fd)  # as a loop device does
    refused(DiskInUse, path)
    os.close(held)
    with opened(path):
        pass


def test_one_file_cannot_be_two_disks_of_a_domain_that_writes(path: str) -> None:
    assert "request.disks[1]" in refused(DiskInUse, path, path)
    with opened(path, path, readonly=True):
        pass


# All or none


@pytest.mark.parametrize("bad", ["missing", "odd", "used"])
def test_a_disk_that_is_refused_leaves_the_others_free(tmp_path: Path, path: str, bad: str) -> None:
    other = tmp_path / bad
    if bad != "missing":
        other.write_bytes(bytes(1 if bad == "odd" else 512))
    if bad == "used":
        with opened(str(other)):
            refused(DiskInUse, path, str(other))
    else:
        assert "request.disks[1]" in refused(BadDisk, path, str(other))
    with opened(path):
        pass


def test_no_disks_are_none() -> None:
    assert open_disks(()) == ()
