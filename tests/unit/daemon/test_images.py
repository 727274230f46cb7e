"""The image cache: the right bytes, within a bound, and no file that hurts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio

from lightvm.daemon.images import ImageCache, read_file
from lightvm.errors import BadImage
from tests.elf import make_kernel

pytestmark = pytest.mark.usefixtures("threadless")


@pytest.fixture
def cache() -> ImageCache:
    return ImageCache(image_bytes=20_000, cache_bytes=30_000)


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(make_kernel(size=4096))
    return path


async def test_a_file_is_parsed_once(cache: ImageCache, kernel: Path) -> None:
    image = await cache.get(str(kernel))
    assert cache.get_nowait(str(kernel)) is image
    assert await cache.get(str(kernel)) is image


def test_an_unknown_file_is_not_there_at_once(cache: ImageCache, kernel: Path) -> None:
    assert cache.get_nowait(str(kernel)) is None


async def test_a_rewritten_file_is_read_again(cache: ImageCache, kernel: Path) -> None:
    await cache.get(str(kernel))
    kernel.write_bytes(make_kernel(size=8192))
    assert cache.get_nowait(str(kernel)) is None
    assert (await cache.get(str(kernel))).size == 8192


async def test_a_file_of_the_same_size_with_another_time_is_read_again(
    cache: ImageCache, kernel: Path
) -> None:
    first = await cache.get(str(kernel))
    status = kernel.stat()
    os.utime(kernel, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert await cache.get(str(kernel)) is not first


async def test_a_file_that_took_the_place_of_another_is_read(
    cache: ImageCache, kernel: Path, tmp_path: Path
) -> None:
    first = await cache.get(str(kernel))
    other = tmp_path / "other"
    other.write_bytes(kernel.read_bytes())
    status = kernel.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(kernel)
    assert await cache.get(str(kernel)) is not first


async def test_a_file_that_went_away_is_refused(cache: ImageCache, kernel: Path) -> None:
    await cache.get(str(kernel))
    kernel.unlink()
    with pytest.raises(BadImage, match="No such file"):
        await cache.get(str(kernel))


async def test_a_file_that_became_bad_is_refused_and_good_again_accepted(
    cache: ImageCache, kernel: Path
) -> None:
    good = kernel.read_bytes()
    await cache.get(str(kernel))
    kernel.write_bytes(b"rubbish")
    with pytest.raises(BadImage):
        await cache.get(str(kernel))
    kernel.write_bytes(good)
    assert (await cache.get(str(kernel))).size == 4096


async def test_the_least_recently_used_image_goes_first(cache: ImageCache, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(make_kernel(size=10_000))
    first, second, third = map(str, paths)
    await cache.get(first)
    await cache.get(second)
    assert cache.get_nowait(first) is not None
    await cache.get(third)
    assert cache.get_nowait(second) is None
    assert cache.get_nowait(first) is not None
    assert cache.get_nowait(third) is not None


async def test_an_image_larger_than_the_cache_is_used_and_not_kept(kernel: Path) -> None:
    cache = ImageCache(image_bytes=20_000, cache_bytes=1000)
    assert (await cache.get(str(kernel))).size == 4096
    assert cache.get_nowait(str(kernel)) is None


async def test_room_that_an_image_gave_up_is_used_again(cache: ImageCache, kernel: Path) -> None:
    for size in range(10_000, 19_000, 1000):
        kernel.write_bytes(make_kernel(size=size))
        await cache.get(str(kernel))
    other = kernel.with_name("other")
    other.write_bytes(make_kernel(size=9000))
    await cache.get(str(other))
    assert cache.get_nowait(str(kernel)) is not None


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert read_file(str(path), 100)[1] == bytes(100)


def test_memory_for_all_that_is_allowed_is_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert read_file(str(path), 1 << 50)[1] == bytes(100)


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(101))
    with pytest.raises(BadImage) as caught:
        read_file(str(path), 100)
    assert caught.value.message == "101 bytes is over the limit of 100"
    assert caught.value.where == str(path)


def test_a_huge_file_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadImage, match="over the limit"):
        read_file(str(path), 100)


@pytest.mark.parametrize("path", ["kernel", "./kernel", "../kernel", ""])
def test_a_relative_path_is_refused(path: str) -> None:
    with pytest.raises(BadImage) as caught:
        read_file(path, 100)
    assert caught.value.message == "the path is not absolute"


@pytest.mark.parametrize("path", ["/a\0b", "/none/kernel", "/" + "x" * 5000])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(BadImage, match="cannot be opened"):
        read_file(path, 100)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="not a regular file"):
        read_file(str(tmp_path), 100)


def test_a_refused_file_is_not_left_open(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(101))
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path, tmp_path / "large", Path("/dev/null")):
        with pytest.raises(BadImage):
            read_file(str(path), 100)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(BadImage, match="not a regular file"):
        read_file(str(path), 100)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(device: str) -> None:
    with pytest.raises(BadImage, match="not a regular file"):
        read_file(device, 100)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(BadImage):
            read_file(str(path), 100)


def test_a_file_that_says_it_is_empty_but_is_not_is_refused() -> None:
    with pytest.raises(BadImage, match="changed while it was read"):
        read_file("/proc/self/status", 1 << 20)


async def test_two_requests_for_one_new_file_are_both_answered(
    cache: ImageCache, kernel: Path
) -> None:
    images = []

    async def get() -> None:
        images.append(await cache.get(str(kernel)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get)
        nursery.start_soon(get)
    assert [image.size for image in images] == [4096, 4096]
    assert cache.get_nowait(str(kernel)) in images
