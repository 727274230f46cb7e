"""Whatever is in a file: an image, or `BadImage`, and soon."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lightvm.errors import BadImage
from lightvm.xen.image import BOOT_PAGE, LOW_RAM_LIMIT, MAX_SEGMENTS, Image, parse
from tests.elf import Load, device_page_note, entry_note, make_elf, make_kernel

SECONDS = 1.0
GOOD = [
    make_kernel(size=64),
    make_kernel(size=64, wide=True),
    make_elf(
        [Load(paddr=0x10000, data=b"a" * 40, memsz=99), Load(paddr=0x2000, data=b"b" * 8)],
        entry_note(0x10000, 8) + device_page_note(),
    ),
]
OFFSETS = st.integers(0, 200)
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 31, 32, 52, 64, 2**16 - 1, 2**31, 2**32 - 1])


def parse_or_refuse(content: bytes) -> Image | BadImage:
    """Parse a file; return the error instead of raising it."""
    try:
        return parse(content, "/k")
    except BadImage as exc:
        return exc


def look_at(content: bytes) -> Image | None:
    """Parse a file; what comes out holds what is promised, and it took little time."""
    begun = time.process_time()
    outcome = parse_or_refuse(content)
    assert time.process_time() - begun < SECONDS
    if isinstance(outcome, BadImage):
        assert outcome.where is not None
        assert outcome.where.startswith("/k")
        return None
    image, previous = outcome, 0
    for segment in image.segments:
        assert segment.paddr >= previous
        assert len(segment.data) <= segment.memsz
        assert segment.end <= LOW_RAM_LIMIT
        assert segment.end <= BOOT_PAGE[0] or segment.paddr >= BOOT_PAGE[1]
        previous = segment.end
    assert any(segment.paddr <= image.entry < segment.end for segment in image.segments)
    return image


@given(st.binary(max_size=300))
@example(b"\x7fELF\1\1" + bytes(300))
@example(b"\x7fELF\2\1" + bytes(300))
def test_bytes_at_random(content: bytes) -> None:
    look_at(content)


@given(st.sampled_from(GOOD), st.lists(st.tuples(OFFSETS, st.integers(0, 255)), max_size=6))
def test_a_good_file_with_some_bytes_changed(
    content: bytes, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(content)
    for at, value in changes:
        changed[at % len(changed)] = value
    look_at(bytes(changed))


@given(st.sampled_from(GOOD), st.lists(st.tuples(OFFSETS, NUMBERS), min_size=1, max_size=4))
def test_a_good_file_with_some_words_changed(
    content: bytes, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(content)
    for at, value in changes:
        struct.pack_into("<I", changed, at // 4 * 4 % (len(changed) - 4), value)
    look_at(bytes(changed))


@given(st.sampled_from(GOOD), st.binary(max_size=200), OFFSETS)
def test_rubbish_in_the_middle_of_a_good_file(content: bytes, rubbish: bytes, at: int) -> None:
    look_at(content[:at] + rubbish + content[at:])


@pytest.mark.parametrize("content", GOOD, ids=["elf32", "elf64", "two-segments"])
def test_a_file_cut_off_anywhere_is_refused(content: bytes) -> None:
    assert look_at(content) is not None
    for length in range(len(content)):
        assert look_at(content[:length]) is None, length


def test_many_notes_in_many_segments_do_not_take_long() -> None:
    # Every program header is the same large note segment.
    tiny = struct.pack("<III", 0, 0, 0)
    content = bytearray(make_elf([Load(paddr=0x10000 + n, data=b"x") for n in range(MAX_SEGMENTS)]))
    at = len(content)
    content += tiny * 100_000
    for n in range(MAX_SEGMENTS):
        struct.pack_into("<II", content, 52 + 32 * n, 4, at)
        struct.pack_into("<I", content, 52 + 32 * n + 16, 12 * 200)
    assert look_at(bytes(content)) is None


def test_a_long_note_that_every_header_points_to_does_not_take_long() -> None:
    content = bytearray(make_elf([Load(paddr=0x10000 + n, data=b"x") for n in range(MAX_SEGMENTS)]))
    at, size = len(content), 16 << 20
    content += struct.pack("<III", 0, size, 0) + bytes(size)
    for n in range(MAX_SEGMENTS):
        struct.pack_into("<II", content, 52 + 32 * n, 4, at)
        struct.pack_into("<I", content, 52 + 32 * n + 16, 12 + size)
    assert look_at(bytes(content)) is None
