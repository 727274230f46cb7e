"""Kernel images: parsed once per file, kept in memory within a bound, read again when the file has changed."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict

import trio

from lightvm.errors import BadImage
from lightvm.xen.bzimage import is_bzimage, unpack
from lightvm.xen.image import Image, parse

Identity = tuple[int, int, int, int]
"""Device, inode, size and time of modification: while they are the same, so is the file."""


class ImageCache:
    """Images by path, the least recently used dropped first."""

    def __init__(self, *, image_bytes: int, cache_bytes: int) -> None:
        self._image_bytes = image_bytes
        self._cache_bytes = cache_bytes
        self._images: OrderedDict[str, tuple[Identity, Image]] = OrderedDict()
        self._size = 0

    def get_nowait(self, path: str) -> Image | None:
        """Return the image if it is here and its file is unchanged. One stat call."""
        kept = self._images.get(path)
        if kept is None or not _is_same(path, kept[0]):
            return None
        self._images.move_to_end(path)
        return kept[1]

    def identity(self, path: str) -> Identity | None:
        """Return which file the image is that is here; None where there is none."""
        kept = self._images.get(path)
        return None if kept is None else kept[0]

    async def get(self, path: str) -> Image:
        """Return the image, reading and parsing it in a thread where needed. Raises `BadImage`."""
        if (kept := self.get_nowait(path)) is not None:
            return kept
        identity, content = await trio.to_thread.run_sync(read_file, path, self._image_bytes)
        size, image = await trio.to_thread.run_sync(self._parse, content, path)
        self._keep(path, identity, image, size)
        return image

    def _parse(self, content: bytes, path: str) -> tuple[int, Image]:
        """Return how much memory an image takes, and the image."""
        if is_bzimage(content):
            content = unpack(content, path, self._image_bytes)
        return len(content), parse(content, path)

    def _keep(self, path: str, identity: Identity, image: Image, size: int) -> None:
        self._drop(path)
        if size > self._cache_bytes:
            return
        self._images[path] = (identity, image)
        self._size += size
        while self._size > self._cache_bytes:
            self._drop(next(iter(self._images)))

    def _drop(self, path: str) -> None:
        kept = self._images.pop(path, None)
        if kept is not None:
            self._size -= kept[0][2]


def _is_same(path: str, identity: Identity) -> bool:
    """Whether there is a file of that identity. Part of the hot path."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    device, inode, size, modified = identity
    return (
        status.st_mtime_ns == modified
        and status.st_ino == inode
        and status.st_size == size
        and status.st_dev == device
    )


def read_file(path: str, limit: int) -> tuple[Identity, bytes]:
    """Read a regular file of at most `limit` bytes; raises `BadImage`."""
    if not os.path.isabs(path):
        raise BadImage("the path is not absolute", path)
    try:
        # Non-blocking, so that opening a FIFO cannot hang the thread.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as exc:
        raise BadImage(f"cannot be opened: {getattr(exc, 'strerror', None) or exc}", path) from exc
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise BadImage("not a regular file", path)
    with open(fd, "rb") as file:
        if status.st_size > limit:
            raise BadImage(f"{status.st_size} bytes is over the limit of {limit}", path)
        try:
            content = file.read(status.st_size + 1)
        except OSError as exc:
            raise BadImage(f"cannot be read: {exc.strerror}", path) from exc
    if len(content) != status.st_size:
        raise BadImage("the file changed while it was read", path)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns), content
