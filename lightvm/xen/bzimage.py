"""Linux' compressed kernel files: the ELF kernel inside of a bzImage.

Sources: ``Documentation/arch/x86/boot.rst`` of Linux, sections "The Real-Mode Kernel Header" (``payload_offset``,
``payload_length``, protocol 2.08); ``lz4_Legacy_format.md`` of LZ4. The payload begins with the magic number of its
compression; what comes after the compressed data, such as its size, is left alone.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from lightvm.errors import BadImage

BOOT_FLAG_AT, HEADER_AT, VERSION_AT = 0x1FE, 0x202, 0x206
SETUP_SECTORS_AT, PAYLOAD_AT = 0x1F1, 0x248
OLDEST = 0x208
"""The first version of the boot protocol that says where the payload is."""

LZ4_MAGIC = b"\x02\x21\x4c\x18"
LZ4_BLOCK = 8 << 20


def is_bzimage(data: bytes) -> bool:
    """Whether this is a kernel in Linux' own format."""
    return (
        data[BOOT_FLAG_AT : BOOT_FLAG_AT + 2] == b"\x55\xaa"
        and data[HEADER_AT : HEADER_AT + 4] == b"HdrS"
    )


def unpack(data: bytes, path: str, limit: int) -> bytes:
    """Return the kernel inside of a bzImage, at most `limit` bytes; raises `BadImage`."""
    payload = _payload(data, path)
    found = next((known for known in _FORMATS if payload.startswith(known[0])), None)
    if found is None:
        raise BadImage(f"unknown compression (begins with {payload[:4].hex()})", path)
    _, name, decompress = found
    try:
        kernel = decompress(payload, limit + 1)
    except ImportError as exc:
        raise BadImage(
            f"compressed with {name}, for which Python has no {exc.name} here", path
        ) from exc
    except Exception as exc:
        raise BadImage(f"the {name} data inside is damaged: {exc}", path) from exc
    if len(kernel) > limit:
        raise BadImage(f"unpacked, it is over the limit of {limit} bytes", path)
    return kernel


def _payload(data: bytes, path: str) -> bytes:
    if len(data) < PAYLOAD_AT + 8:
        raise BadImage(f"truncated: {len(data)} bytes is shorter than a kernel's header", path)
    (version,) = struct.unpack_from("<H", data, VERSION_AT)
    if version < OLDEST:
        raise BadImage(
            f"boot protocol {version >> 8}.{version & 255:02} says nothing of a payload", path
        )
    sectors = data[SETUP_SECTORS_AT] or 4  # 0 stands for 4, from the time before it was written
    offset, length = struct.unpack_from("<II", data, PAYLOAD_AT)
    start = (sectors + 1) * 512 + offset
    if start + length > len(data):
        raise BadImage(
            f"truncated: the payload ends at {start + length}, the file at {len(data)}", path
        )
    return data[start : start + length]


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _with(make: Callable[[], _Decompressor]) -> Callable[[bytes, int], bytes]:
    return lambda data, most: make().decompress(data, most)


def _zstd(data: bytes, most: int) -> bytes:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return _take(most, decompressor.read_to_iter(data))


def _lz4(data: bytes, most: int) -> bytes:
    return _take(most, _lz4_blocks(data))


def _take(most: int, pieces: Iterable[bytes]) -> bytes:
    """Join pieces, as far as they are needed: memory for the most that may come is not asked for."""
    taken = bytearray()
    for piece in pieces:
        taken += piece
        if len(taken) >= most:
            break
    del taken[most:]
    return bytes(taken)


def _lz4_blocks(data: bytes) -> Iterator[bytes]:
    """Yield the blocks of the legacy format, which knows neither sizes nor an end of its own."""
    import lz4.block

    at = len(LZ4_MAGIC)
    while at + 8 <= len(data):  # the last four bytes are the kernel's size
        (length,) = struct.unpack_from("<I", data, at)
        yield lz4.block.decompress(data[at + 4 : at + 4 + length], uncompressed_size=LZ4_BLOCK)
        at += 4 + length


_FORMATS: tuple[tuple[bytes, str, Callable[[bytes, int], bytes]], ...] = (
    (b"\x1f\x8b", "gzip", _with(lambda: zlib.decompressobj(zlib.MAX_WBITS | 16))),
    (b"\xfd7zXZ\0", "xz", _with(lzma.LZMADecompressor)),
    (b"\x5d\0\0", "lzma", _with(lzma.LZMADecompressor)),
    (b"BZh", "bzip2", _with(bz2.BZ2Decompressor)),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (LZ4_MAGIC, "lz4", _lz4),
)
