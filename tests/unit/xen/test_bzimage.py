"""Kernels in Linux' own format: every compression, every way to be broken."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import random
import struct
from collections.abc import Callable

import lz4.block
import pytest
import zstandard

from lightvm.errors import BadImage
from lightvm.xen.bzimage import LZ4_MAGIC, is_bzimage, unpack
from tests.elf import make_kernel

KERNEL = make_kernel(size=1 << 20) + random.Random(0).randbytes(1 << 16)
LIMIT = 2 << 20


def compress_lz4(data: bytes) -> bytes:
    """Return the legacy format, which `lz4 -l` writes: blocks of 8 MiB, each with its length."""
    blocks = b""
    for at in range(0, len(data), 8 << 20):
        block = lz4.block.compress(data[at : at + (8 << 20)], store_size=False)
        blocks += struct.pack("<I", len(block)) + block
    return LZ4_MAGIC + blocks


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "lz4": compress_lz4,
}


def make_bzimage(
    payload: bytes, *, sectors: int = 4, version: int = 0x20F, length: int | None = None
) -> bytes:
    """Return a kernel file with this payload, 100 bytes behind its real-mode part."""
    head = bytearray(((sectors or 4) + 1) * 512 + 100)
    head[0x1F1] = sectors
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<II", head, 0x248, 100, len(payload) if length is None else length)
    return bytes(head) + payload


def with_size(payload: bytes) -> bytes:
    """Return a payload as Linux' build makes it: the size of what it holds comes last."""
    return payload + struct.pack("<I", len(KERNEL))


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("sectors", [0, 4, 39])
def test_every_compression_is_unpacked(name: str, sectors: int) -> None:
    data = make_bzimage(with_size(COMPRESSIONS[name](KERNEL)), sectors=sectors)
    assert is_bzimage(data)
    assert unpack(data, "/k", LIMIT) == KERNEL


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_memory_for_all_that_is_allowed_is_not_asked_for(name: str) -> None:
    data = make_bzimage(with_size(COMPRESSIONS[name](KERNEL)))
    assert unpack(data, "/k", 1 << 50) == KERNEL


def test_what_is_of_several_blocks_is_put_together() -> None:
    large = KERNEL * 20
    assert unpack(make_bzimage(compress_lz4(large) + bytes(4)), "/k", len(large)) == large


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_what_would_be_too_large_is_refused_before_it_is(name: str) -> None:
    bomb = COMPRESSIONS[name](bytes(64 << 20))
    with pytest.raises(BadImage, match=f"over the limit of {LIMIT}"):
        unpack(make_bzimage(bomb), "/k", LIMIT)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_damaged_data_is_refused(name: str) -> None:
    payload = bytearray(COMPRESSIONS[name](KERNEL))
    payload[20:60] = b"\xff" * 40
    with pytest.raises(BadImage, match=f"the {name} data inside is damaged"):
        unpack(make_bzimage(bytes(payload)), "/k", LIMIT)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_data_that_ends_too_soon_gives_no_more_than_there_is(name: str) -> None:
    payload = COMPRESSIONS[name](KERNEL)
    with contextlib.suppress(BadImage):
        assert KERNEL.startswith(unpack(make_bzimage(payload[: len(payload) // 2]), "/k", LIMIT))


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(BadImage, match="begins with 894c5a4f"):
        unpack(make_bzimage(b"\x89LZO rest"), "/k", LIMIT)


def test_a_payload_beyond_the_end_is_refused() -> None:
    with pytest.raises(BadImage, match="the payload ends at"):
        unpack(make_bzimage(b"\x1f\x8b", length=1 << 31), "/k", LIMIT)


def test_a_file_that_ends_in_its_header_is_refused() -> None:
    with pytest.raises(BadImage, match="shorter than a kernel's header"):
        unpack(make_bzimage(b"")[:0x240], "/k", LIMIT)


def test_a_kernel_from_before_payloads_is_refused() -> None:
    with pytest.raises(BadImage, match=r"boot protocol 2\.07"):
        unpack(make_bzimage(b"\x1f\x8b", version=0x207), "/k", LIMIT)


@pytest.mark.parametrize("data", [b"", KERNEL, bytes(0x1000), b"HdrS" * 1000])
def test_other_files_are_none_of_these(data: bytes) -> None:
    assert not is_bzimage(data)


def test_a_python_without_the_library_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(BadImage, match="compressed with zstd, for which Python has no zstandard"):
        unpack(make_bzimage(COMPRESSIONS["zstd"](KERNEL)), "/k", LIMIT)
