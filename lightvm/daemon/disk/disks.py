"""Disks at work: which file or device a vbd stands for, and who else may use it meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from lightvm.errors import BadDisk, DiskInUse
from lightvm.model import DiskRequest, Vbd
from lightvm.xen.device_page import VbdConfig

SECTOR = 512
LOCK_SECONDS, LOOK_SECONDS = 2.0, 0.02


class LoopDevices(Protocol):
    """The host's loop devices, as far as they are needed here; `lightvm.daemon.disk.loops.Loops` has them."""

    def add(self) -> int:
        """Make one that is bound to nothing."""
        ...

    def bind(self, number: int, fd: int, path: str, *, readonly: bool) -> None:
        """Let it stand for an open file."""
        ...

    def remove(self, number: int) -> None:
        """Remove one, once it is free."""
        ...

    def recheck(self) -> None:
        """Remove what has come back since it was removed."""
        ...

    def sweep(self) -> None:
        """Remove those that nobody uses."""
        ...


class OpenDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A file or device, open and locked for one domain."""

    fd: int
    path: str
    readonly: bool
    size_bytes: int

    def describe(self) -> Vbd:
        """Return it as callers see it."""
        return Vbd(path=self.path, readonly=self.readonly, size_bytes=self.size_bytes)

    def pack(self) -> bytes:
        """Return it as the guest sees it."""
        return VbdConfig(sectors=self.size_bytes // SECTOR, readonly=self.readonly).pack()


def open_disks(requests: Sequence[DiskRequest]) -> tuple[OpenDisk, ...]:
    """Open and lock what a domain's disks are to stand for, all or none; raises `BadDisk` and `DiskInUse`.

    One writer, or any number of readers. The rule is the kernel's to keep: a lock on the open file, which a loop device
    then keeps open; and for a device that is to be written also its exclusive use, so that nothing is written that
    something of this host has mounted.
    """
    opened: list[OpenDisk] = []
    try:
        for index, request in enumerate(requests):
            opened.append(_open_disk(request, f"request.disks[{index}]"))
    except BaseException:
        close_disks(opened)
        raise
    return tuple(opened)


def pack_disks(disks: Sequence[OpenDisk]) -> bytes:
    """Return what the guest sees of its disks."""
    return b"".join(disk.pack() for disk in disks)


def close_disks(disks: Sequence[OpenDisk]) -> None:
    """Let go of open disks; one that is bound to a loop device stays open there."""
    for disk in disks:
        os.close(disk.fd)


def _open_disk(request: DiskRequest, where: str) -> OpenDisk:
    path, readonly = request.path, bool(request.readonly)
    where = f"{where}: {path}"
    flags = os.O_CLOEXEC | (os.O_RDONLY if readonly else os.O_RDWR)
    try:
        found = os.open(path, flags | os.O_NONBLOCK)  # a pipe must not make us wait
        try:
            mode = os.fstat(found).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise BadDisk("neither a file nor a block device", where)
            exclusive = os.O_EXCL if stat.S_ISBLK(mode) and not readonly else 0
            fd = os.open(f"/proc/self/fd/{found}", flags | exclusive)
        finally:
            os.close(found)
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            raise DiskInUse("something of this host uses it", where) from exc
        raise BadDisk(f"cannot be opened: {exc.strerror}", where) from exc
    try:
        _lock(fd, readonly, where)
        size = os.lseek(fd, 0, os.SEEK_END)
        if size < SECTOR or size % SECTOR:
            raise BadDisk(f"{size} bytes are not a number of sectors of {SECTOR}", where)
    except BaseException:
        os.close(fd)
        raise
    return OpenDisk(fd=fd, path=path, readonly=readonly, size_bytes=size)


def _lock(fd: int, readonly: bool, where: str) -> None:
    """Lock an open file. A block device may be locked for a moment by udev, which looks what is on it."""
    patience = LOCK_SECONDS if stat.S_ISBLK(os.fstat(fd).st_mode) else 0
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_NB | (fcntl.LOCK_SH if readonly else fcntl.LOCK_EX))
            return
        except BlockingIOError as exc:
            if time.monotonic() >= end:
                raise DiskInUse("another domain uses it", where) from exc
            time.sleep(LOOK_SECONDS)
        except OSError as exc:
            raise BadDisk(f"cannot be locked: {exc.strerror}", where) from exc
