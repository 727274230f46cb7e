"""Loop devices, over a kernel in memory; the real one is in tests/lab."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightvm.daemon.disk import loops
from lightvm.daemon.disk.loops import (
    CONFIG,
    FIRST_NUMBER,
    LOOP_CONFIGURE,
    LOOP_CTL_ADD,
    LOOP_CTL_REMOVE,
    Loops,
    MemoryLoops,
    loop_number,
    physical_device,
)
from lightvm.errors import DiskFailed
from lightvm.testing import MemoryStore

FIRST = FIRST_NUMBER
PHYSICAL = "/local/domain/0/backend/vbd/7/51712/physical-device"


class Kernel:
    """Answers as the loop driver does (``drivers/block/loop.c``), with nodes below a directory."""

    def __init__(self, directory: Path) -> None:
        self.devices, self.blocks = directory / "dev", directory / "block"
        for path in (self.devices, self.blocks):
            path.mkdir()
        (self.devices / "loop-control").touch()
        self.there: set[int] = set()
        self.busy: dict[int, int] = {}
        """How often each says that it is in use."""
        self.error: int | None = None
        self.configured: list[bytes] = []

    def make(self, number: int) -> None:
        self.there.add(number)
        (self.devices / f"loop{number}").touch()
        (self.blocks / f"loop{number}").mkdir()

    def ioctl(self, fd: int, command: int, argument: int | bytes) -> int:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        if isinstance(argument, bytes):
            assert command == LOOP_CONFIGURE
            self.configured.append(argument)
        elif command == LOOP_CTL_ADD:
            self._add(argument)
        elif command == LOOP_CTL_REMOVE:
            self._remove(argument)
        else:
            raise AssertionError(command)
        return 0

    def _add(self, number: int) -> None:
        if number in self.there:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self.make(number)

    def _remove(self, number: int) -> None:
        if number not in self.there:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if self.busy.get(number):
            self.busy[number] -= 1
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.there.discard(number)
        (self.devices / f"loop{number}").unlink()
        (self.blocks / f"loop{number}").rmdir()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path)
    monkeypatch.setattr(loops, "fcntl", SimpleNamespace(ioctl=kernel.ioctl))
    monkeypatch.setattr(loops, "DEVICES", kernel.devices)
    monkeypatch.setattr(loops, "BLOCKS", kernel.blocks)
    return kernel


# What the kernel's header says


def test_what_is_sent_has_the_size_of_the_kernel_s_struct() -> None:
    info = 5 * 8 + 4 * 4 + 64 + 64 + 32 + 2 * 8  # struct loop_info64
    assert CONFIG.size == 4 + 4 + info + 8 * 8  # struct loop_config
    assert CONFIG.size == 304


def test_the_numbers_of_the_driver_s_calls_are_the_kernel_s() -> None:
    header = Path("/usr/include/linux/loop.h")
    words = [line.split() for line in header.read_text().splitlines()]
    numbers = {w[1]: int(w[2], 16) for w in words if w[:1] == ["#define"] and "0x" in w[-1]}
    assert numbers["LOOP_CONFIGURE"] == LOOP_CONFIGURE
    assert numbers["LOOP_CTL_ADD"] == LOOP_CTL_ADD
    assert numbers["LOOP_CTL_REMOVE"] == LOOP_CTL_REMOVE
    flags = {w[0]: int(w[2].rstrip(",")) for w in words if w[:1] and w[0].startswith("LO_FLAGS_")}
    assert flags["LO_FLAGS_READ_ONLY"] == loops.READ_ONLY
    assert flags["LO_FLAGS_AUTOCLEAR"] == loops.AUTOCLEAR
    assert flags["LO_FLAGS_DIRECT_IO"] == loops.DIRECT_IO


# Numbers


@pytest.mark.parametrize("number", [FIRST, FIRST + 1, FIRST + 0xFFFF, (1 << 20) - 1])
def test_a_loop_device_is_known_again_by_what_blkback_knows(number: int) -> None:
    assert loop_number(physical_device(number)) == number


def test_blkback_knows_a_loop_device_by_hexadecimal_numbers() -> None:
    assert physical_device(FIRST + 10) == "7:1000a"


@pytest.mark.parametrize("physical", ["7:0", "7:ffff", "8:10000", "fe:10000", "7:", "", "7:x", "7"])
def test_a_device_that_is_not_ours_is_not_taken_for_one(physical: str) -> None:
    assert loop_number(physical) is None


# Making and removing


def test_each_loop_device_has_a_number_of_its_own(kernel: Kernel) -> None:
    made = Loops()
    assert [made.add(), made.add()] == [FIRST, FIRST + 1]
    assert kernel.there == {FIRST, FIRST + 1}


def test_numbers_that_are_in_use_are_passed_over(kernel: Kernel) -> None:
    for number in (FIRST, FIRST + 1):
        kernel.make(number)
    assert Loops().add() == FIRST + 2


def test_a_host_without_loop_devices_says_so(kernel: Kernel) -> None:
    kernel.devices.joinpath("loop-control").unlink()
    with pytest.raises(DiskFailed, match="no loop device"):
        Loops().add()


def test_a_loop_device_is_removed_once_nobody_uses_it_any_more(kernel: Kernel) -> None:
    number = Loops().add()
    kernel.busy[number] = 2
    Loops().remove(number)
    assert not kernel.there


def test_a_loop_device_that_is_not_there_is_removed_already(kernel: Kernel) -> None:
    Loops().remove(FIRST)


def test_a_loop_device_that_stays_in_use_is_given_up(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "REMOVE_SECONDS", 0)
    number = Loops().add()
    kernel.busy[number] = 1000
    with pytest.raises(DiskFailed, match="still in use"):
        Loops().remove(number)
    assert number in kernel.there


def test_a_removal_that_fails_says_why(kernel: Kernel) -> None:
    kernel.error = errno.EPERM
    with pytest.raises(DiskFailed, match="not permitted"):
        Loops().remove(FIRST)


def test_a_sweep_removes_those_of_ours_that_nobody_uses(kernel: Kernel) -> None:
    for number in (0, 7, FIRST, FIRST + 1):
        kernel.make(number)
    (kernel.blocks / "sda").mkdir()
    kernel.busy[FIRST + 1] = 1000
    Loops().sweep()
    assert kernel.there == {0, 7, FIRST + 1}


def test_a_loop_device_that_comes_back_is_removed_again(kernel: Kernel) -> None:
    made = Loops()
    number, kept = made.add(), made.add()
    made.remove(number)
    for _ in range(5):
        made.recheck()
    kernel.make(number)
    kernel.busy[number] = 1
    made.recheck()
    assert kernel.there == {number, kept}
    made.recheck()
    assert kernel.there == {kept}
    kernel.make(number)
    made.recheck()
    assert kernel.there == {kept}


def test_a_loop_device_that_was_removed_for_good_is_not_ours_any_more(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Loops()
    made.remove(made.add())
    monkeypatch.setattr(loops, "COMES_BACK_SECONDS", 0)
    made.recheck()
    kernel.make(FIRST)
    made.recheck()
    assert kernel.there == {FIRST}


def test_numbers_begin_anew_after_the_last(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "NUMBERS", FIRST + 2)
    made = Loops()
    made.remove(made.add())
    assert [made.add(), made.add()] == [FIRST + 1, FIRST]
    made.recheck()
    assert kernel.there == {FIRST, FIRST + 1}


# Binding


@pytest.mark.parametrize(("readonly", "flags"), [(False, 4 | 16), (True, 1 | 4 | 16)])
def test_a_loop_device_is_bound_to_an_open_file_and_unbinds_itself(
    kernel: Kernel, readonly: bool, flags: int
) -> None:
    made = Loops()
    made.bind(made.add(), 77, "/srv/disk", readonly=readonly)
    (sent,) = kernel.configured
    assert struct.unpack_from("<II", sent, 0) == (77, 512)  # fd, block_size
    assert struct.unpack_from("<I", sent, 8 + 40 + 12) == (flags,)  # info.lo_flags
    assert sent[64 : 64 + 64].rstrip(b"\0") == b"/srv/disk"  # info.lo_file_name
    assert not any(sent[8:60] + sent[128:])


def test_of_a_long_path_the_end_is_shown(kernel: Kernel) -> None:
    made = Loops()
    made.bind(made.add(), 77, "/" + "x" * 100 + "end", readonly=False)
    name = kernel.configured[0][64:128]
    assert name.rstrip(b"\0").endswith(b"xend")
    assert name[-1] == 0


def test_a_loop_device_that_cannot_be_bound_names_the_path(kernel: Kernel) -> None:
    made = Loops()
    number = made.add()
    kernel.error = errno.EBUSY
    with pytest.raises(DiskFailed) as caught:
        made.bind(number, 77, "/srv/disk", readonly=False)
    assert caught.value.where == "/srv/disk"


def test_a_loop_device_that_is_gone_cannot_be_bound(kernel: Kernel) -> None:
    with pytest.raises(DiskFailed):
        Loops().bind(FIRST, 77, "/srv/disk", readonly=False)


# Loop devices in memory


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def memory(store: MemoryStore) -> MemoryLoops:
    return MemoryLoops(store)


def test_loops_in_memory_keep_a_file_open_until_their_back_end_is_gone(
    memory: MemoryLoops, store: MemoryStore, tmp_path: Path
) -> None:
    number = memory.add()
    store.write(PHYSICAL, physical_device(number))
    with (tmp_path / "disk").open("w") as file:
        links = os.readlink(f"/proc/self/fd/{file.fileno()}")
        memory.bind(number, file.fileno(), "/disk", readonly=False)

    def is_open() -> bool:
        fds = Path("/proc/self/fd").iterdir()
        return links in [os.readlink(fd) for fd in fds if fd.is_symlink()]

    assert memory.bound == {number: "/disk"}
    assert is_open()
    store.remove("/local/domain/0/backend/vbd/7")
    assert memory.bound == {number: None}
    assert not is_open()


def test_loops_in_memory_are_not_removed_while_a_back_end_has_them(
    memory: MemoryLoops, store: MemoryStore
) -> None:
    number = memory.add()
    store.write(PHYSICAL, physical_device(number))
    with pytest.raises(DiskFailed, match="still in use"):
        memory.remove(number)
    store.remove(PHYSICAL)
    memory.remove(number)
    memory.remove(number)
    assert memory.bound == {}


def test_a_sweep_in_memory_leaves_those_that_a_back_end_has(
    memory: MemoryLoops, store: MemoryStore
) -> None:
    used = memory.add()
    memory.add()
    store.write(PHYSICAL, physical_device(used))
    memory.sweep()
    assert memory.bound == {used: None}


def test_broken_loops_in_memory_raise(memory: MemoryLoops) -> None:
    memory.broken = True
    with pytest.raises(DiskFailed):
        memory.add()
    with pytest.raises(DiskFailed):
        memory.bind(FIRST, 0, "/disk", readonly=False)
    with pytest.raises(DiskFailed):
        memory.remove(FIRST)
    with pytest.raises(DiskFailed):
        memory.sweep()
