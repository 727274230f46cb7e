"""Loop devices: empty while a shell waits, bound to a file or a device when it is taken.

All functions block, and are for a worker thread; they raise `DiskFailed`.

Nothing has to be remembered about a bound one. It holds the open file, and with it the lock that keeps others out.
When its back-end lets go of it, the kernel unbinds it (``LO_FLAGS_AUTOCLEAR``). So neither outlives its domain, nor
dies with this process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
import weakref
from pathlib import Path

from lightvm.daemon.xenstore.memory import MemoryStore
from lightvm.errors import DiskFailed

DEVICES, BLOCKS = Path("/dev"), Path("/sys/block")
CONTROL = "loop-control"
FIRST_NUMBER = 1 << 16
"""Ours start here, since low ones are for people and their ``losetup -f``."""

NUMBERS = 1 << 20
"""So many there are (``MINORBITS``, linux/kdev_t.h)."""

MAJOR = 7
LOOP_CONFIGURE, LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C0A, 0x4C80, 0x4C81
READ_ONLY, AUTOCLEAR, DIRECT_IO = 1, 4, 16
CONFIG = struct.Struct("<II5Q4I64s64s32s2Q8Q")
"""``struct loop_config`` (linux/loop.h)."""

SECTOR = 512
REMOVE_SECONDS = 10.0
COMES_BACK_SECONDS = 120.0
"""Whatever comes back later than this after it was removed is somebody else's."""
SHORTEST_LOOK, LONGEST_LOOK = 0.005, 0.2


def physical_device(number: int) -> str:
    """Return what blkback knows a loop device by."""
    return f"{MAJOR:x}:{number:x}"


def loop_number(physical: str) -> int | None:
    """Return the number of a loop device of ours, or None for any other device."""
    major, _, minor = physical.partition(":")
    try:
        number = int(minor, 16)
        return number if int(major, 16) == MAJOR and number >= FIRST_NUMBER else None
    except ValueError:
        return None


class Loops:
    """The loop devices of this host."""

    def __init__(self) -> None:
        self._next = FIRST_NUMBER
        self._removed: dict[int, float] = {}
        """When each was removed that may come back."""

    def add(self) -> int:
        """Make a loop device that is bound to nothing; returns its number."""
        while True:
            number, self._next = self._next, self._next + 1
            if self._next == NUMBERS:
                self._next = FIRST_NUMBER
            self._removed.pop(number, None)
            try:
                _control(LOOP_CTL_ADD, number)
            except FileExistsError:
                continue
            except OSError as exc:
                raise DiskFailed(f"no loop device: {exc.strerror}", CONTROL) from exc
            return number

    def bind(self, number: int, fd: int, path: str, *, readonly: bool) -> None:
        """Let a loop device stand for an open file or device, which it keeps open by itself."""
        flags = AUTOCLEAR | DIRECT_IO | (READ_ONLY if readonly else 0)
        name = os.fsencode(path)[-63:]
        config = CONFIG.pack(
            *(fd, SECTOR), *(0,) * 5, *(0, 0, 0, flags), name, b"", b"", *(0,) * 10
        )
        try:
            loop = os.open(DEVICES / f"loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, LOOP_CONFIGURE, config)
            finally:
                os.close(loop)
        except OSError as exc:
            raise DiskFailed(f"loop device {number}: {exc.strerror}", path) from exc

    def remove(self, number: int) -> None:
        """Remove a loop device as soon as its back-end has let go of it; none is none to remove."""
        end = time.monotonic() + REMOVE_SECONDS
        look = SHORTEST_LOOK
        while not self._remove_free(number):
            if time.monotonic() > end:
                raise DiskFailed("still in use", f"/dev/loop{number}")
            time.sleep(look)
            look = min(2 * look, LONGEST_LOOK)
        self._removed[number] = time.monotonic()

    def recheck(self) -> None:
        """Remove what has come back since it was removed; to be called from time to time.

        udev looks into each device that changes, some seconds later where there is much to do. Where it opens one that
        was removed, Linux makes that anew ("block device autoloading", block/bdev.c), and nobody would know of it.
        """
        now = time.monotonic()
        for number, removed in list(self._removed.items()):  # other threads remove others
            if (BLOCKS / f"loop{number}").exists():
                self._removed[number] = now
                self._remove_free(number)
            elif now - removed >= COMES_BACK_SECONDS:
                self._removed.pop(number, None)

    def _remove_free(self, number: int) -> bool:
        try:
            _control(LOOP_CTL_REMOVE, number)
        except OSError as exc:
            if exc.errno == errno.EBUSY:
                return False
            if exc.errno != errno.ENODEV:
                raise DiskFailed(f"not removed: {exc.strerror}", f"/dev/loop{number}") from exc
        return True

    def sweep(self) -> None:
        """Remove those of ours that nobody has open, as a daemon that was killed may leave them."""
        for path in BLOCKS.glob("loop*"):
            digits = path.name.removeprefix("loop")
            if digits.isdigit() and int(digits) >= FIRST_NUMBER:
                self._remove_free(int(digits))


def _control(command: int, number: int) -> None:
    fd = os.open(DEVICES / CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, command, number)
    finally:
        os.close(fd)


class MemoryLoops:
    """Loop devices in memory, for tests and for the in-memory daemon; `broken` makes it raise.

    They are in use as long as a back-end in a store has them.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.broken = False
        self._store = store
        self._next = FIRST_NUMBER
        self._bound: dict[int, str | None] = {}
        self._files: dict[int, int] = {}
        """What bound ones keep open: a file descriptor each."""
        weakref.finalize(self, _close_all, self._files)

    @property
    def bound(self) -> dict[int, str | None]:
        """Path by number; None while bound to nothing."""
        for number in [number for number in self._files if not self._is_used(number)]:
            os.close(self._files.pop(number))
            self._bound[number] = None
        return dict(self._bound)

    def _is_used(self, number: int) -> bool:
        nodes, physical = self._store.nodes, physical_device(number)
        return any(nodes[n] == physical for n in nodes if n.endswith("/physical-device"))

    def _check(self) -> None:
        if self.broken:
            raise DiskFailed("injected")

    def add(self) -> int:
        """Note a device."""
        self._check()
        self._next += 1
        self._bound[self._next] = None
        return self._next

    def bind(self, number: int, fd: int, path: str, *, readonly: bool) -> None:
        """Note what a device stands for, and keep that open, with the lock that is on it."""
        self._check()
        if number not in self.bound or number in self._files:
            raise DiskFailed(f"loop device {number}: gone, or bound already", path)
        self._files[number] = os.dup(fd)
        self._bound[number] = path

    def remove(self, number: int) -> None:
        """Forget a device, once no back-end has it."""
        self._check()
        if number in self.bound and self._is_used(number):
            raise DiskFailed("still in use", f"/dev/loop{number}")
        self._bound.pop(number, None)

    def recheck(self) -> None:
        """Nothing comes back in memory."""
        self._check()

    def sweep(self) -> None:
        """Forget those that no back-end has."""
        self._check()
        for number in self.bound:
            if not self._is_used(number):
                del self._bound[number]


def _close_all(files: dict[int, int]) -> None:
    for fd in files.values():
        os.close(fd)
