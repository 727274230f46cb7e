"""Kernel files: what is accepted, and each refusal with its reason and offset."""

from __future__ import annotations

import struct

import pytest

from lightvm.errors import BadImage
from lightvm.xen.image import LOW_RAM_LIMIT, MAX_NOTES, MAX_SEGMENTS, Image, parse
from tests.elf import Load, device_page_note, entry_note, make_elf, make_kernel, note

CODE = Load(paddr=0x10000, data=b"\x90" * 64)
WIDTHS = pytest.mark.parametrize("wide", [False, True], ids=["elf32", "elf64"])


def patched(at: int, data: bytes, content: bytes | None = None) -> bytes:
    """Return a good file with some bytes of it replaced."""
    content = content or make_kernel()
    return content[:at] + data + content[at + len(data) :]


def refusal(content: bytes) -> BadImage:
    """Return the error that a file is refused with."""
    with pytest.raises(BadImage) as caught:
        parse(content, "/k")
    return caught.value


@WIDTHS
def test_a_good_kernel_is_laid_out(wide: bool) -> None:
    content = make_kernel(paddr=0x20000, size=5000, wide=wide)
    image = parse(content, "/k")
    assert image.path == "/k"
    assert image.entry == 0x20000
    assert image.device_page
    assert [(s.paddr, s.memsz, s.end) for s in image.segments] == [(0x20000, 5000, 0x20000 + 5000)]
    assert bytes(image.segments[0].data) == content[-5000:]
    assert image.end == 0x20000 + 5000
    assert image.size == 5000


@WIDTHS
def test_segments_come_in_the_order_of_their_addresses(wide: bool) -> None:
    loads = [
        Load(paddr=0x30000, data=b"c", memsz=0x2000),
        Load(paddr=0x10000, data=b"a" * 32),
        Load(paddr=0x20000, data=b"b"),
    ]
    image = parse(make_elf(loads, entry_note(0x10000), wide=wide), "/k")
    assert [bytes(s.data[:1]) for s in image.segments] == [b"a", b"b", b"c"]
    assert image.end == 0x32000
    assert image.size == 34


@pytest.mark.parametrize("width", [4, 8])
@WIDTHS
def test_the_entry_may_be_of_four_or_eight_bytes(width: int, wide: bool) -> None:
    content = make_elf([CODE], entry_note(0x10010, width), wide=wide)
    assert parse(content, "/k").entry == 0x10010


def test_a_kernel_without_the_note_reads_no_device_page() -> None:
    assert not parse(make_elf([CODE], entry_note(0x10000)), "/k").device_page


def test_a_guest_of_a_later_device_page_is_accepted() -> None:
    notes = entry_note(0x10000) + device_page_note(2)
    assert parse(make_elf([CODE], notes), "/k").device_page


def test_other_notes_are_passed_over() -> None:
    notes = note(b"GNU\0", 3, b"build") + note(b"Xen\0", 6, b"x86") + entry_note(0x10000)
    assert parse(make_elf([CODE], notes), "/k").entry == 0x10000


def test_empty_segments_are_passed_over() -> None:
    empty = Load(paddr=0, data=b"")
    assert len(parse(make_elf([empty, CODE], entry_note(0x10000)), "/k").segments) == 1


def test_a_position_independent_file_for_64_bit_is_accepted() -> None:
    assert parse(make_elf([CODE], entry_note(0x10000), wide=True, kind=3, machine=62), "/k")


@pytest.mark.parametrize(
    ("content", "reason", "offset"),
    [
        (b"", "truncated: 0 bytes", 0),
        (b"\x7fELF", "truncated: 4 bytes", 0),
        (patched(0, b"MZ"), "not an ELF file", 0),
        (patched(4, b"\3"), "unknown ELF class 3", 4),
        (patched(5, b"\2"), "not little-endian", 5),
        (patched(16, b"\1\0"), "not an executable (ELF type 1)", 16),
        (patched(18, b"\x28\0"), "not for x86 (ELF machine 40)", 18),
        (make_kernel(wide=True)[:60], "shorter than an ELF64 header", 0),
        (patched(42, b"\x1f\0"), "program header size is 31", 42),
        (patched(54, b"\x20\0", make_kernel(wide=True)), "program header size is 32", 54),
        (patched(44, b"\0\0"), f"0 program headers; 1 to {MAX_SEGMENTS}", 44),
        (patched(44, b"\x41\0"), f"65 program headers; 1 to {MAX_SEGMENTS}", 44),
        (patched(56, b"\0\0", make_kernel(wide=True)), "0 program headers", 56),
        (patched(28, struct.pack("<I", 1 << 31)), "program headers reach beyond", 1 << 31),
        (patched(28, struct.pack("<I", 4200)), "program headers reach beyond", 4200),
        (make_kernel()[:-1], "segment 1 reaches beyond the end of the file", 52 + 32),
    ],
)
def test_a_bad_header_is_refused(content: bytes, reason: str, offset: int) -> None:
    error = refusal(content)
    assert reason in error.message
    assert error.where == f"/k at offset {offset:#x}"


@WIDTHS
def test_a_segment_with_more_bytes_in_the_file_than_in_memory_is_refused(wide: bool) -> None:
    content = make_elf([Load(paddr=0x10000, data=b"\x90" * 64, memsz=63)], b"", wide=wide)
    error = refusal(content)
    assert "more bytes in the file than in memory" in error.message
    assert error.where == f"/k at offset {64 if wide else 52:#x}"


def test_a_segment_above_the_low_ram_is_refused() -> None:
    error = refusal(make_elf([Load(paddr=LOW_RAM_LIMIT - 63, data=b"\x90" * 64)]))
    assert "ends above 0xe0000000" in error.message


def test_an_address_that_overflows_is_refused() -> None:
    error = refusal(make_elf([Load(paddr=2**64 - 32, data=b"\x90" * 64)], wide=True))
    assert "ends above" in error.message


@pytest.mark.parametrize("paddr", [0x1000, 0x0FFF, 0x1FFF, 0x0])
def test_a_segment_on_the_boot_page_is_refused(paddr: int) -> None:
    error = refusal(make_elf([Load(paddr=paddr, data=b"x", memsz=0x1001)], entry_note(paddr)))
    assert "overlaps the boot page" in error.message
    assert error.where == "/k"


def test_segments_around_the_boot_page_are_accepted() -> None:
    loads = [Load(paddr=0, data=bytes(0x1000)), Load(paddr=0x2000, data=bytes(0x1000))]
    assert parse(make_elf(loads, entry_note(0x2000)), "/k").end == 0x3000


def test_overlapping_segments_are_refused() -> None:
    loads = [CODE, Load(paddr=0x1003F, data=b"x")]
    assert refusal(make_elf(loads, entry_note(0x10000))).message == (
        "segments overlap at address 0x1003f"
    )


def test_adjacent_segments_are_accepted() -> None:
    loads = [CODE, Load(paddr=0x10040, data=b"x")]
    assert len(parse(make_elf(loads, entry_note(0x10000)), "/k").segments) == 2


def test_a_file_without_anything_to_load_is_refused() -> None:
    assert refusal(make_elf([], entry_note(0x10000))).message == "no loadable segment"


def test_a_file_without_an_entry_note_is_refused() -> None:
    assert "no PVH entry note" in refusal(make_elf([CODE], device_page_note())).message


@pytest.mark.parametrize("entry", [0xFFFF, 0x10040, 0])
def test_an_entry_outside_all_segments_is_refused(entry: int) -> None:
    error = refusal(make_elf([CODE], entry_note(entry)))
    assert error.message == f"entry point {entry:#x} lies in no segment"


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        (note(b"Xen\0", 18, b"\0\0\1"), "PVH entry note has 3 bytes"),
        (note(b"Xen\0", 18, b""), "PVH entry note has 0 bytes"),
        (entry_note(LOW_RAM_LIMIT), "is not below 0xe0000000"),
        (entry_note(2**63, 8), "is not below 0xe0000000"),
        (note(b"LightVM\0", 1, b"\1\0"), "device page note has 2 bytes"),
        (device_page_note(0), "device page version 0, this is 1"),
        (entry_note(0x10000)[:8], "truncated note header"),
        (struct.pack("<III", 4, 5, 18) + b"Xen\0" + bytes(4), "beyond its segment"),
        (struct.pack("<III", 2**32 - 1, 4, 18) + b"Xen\0" + bytes(4), "beyond its segment"),
        (struct.pack("<III", 4, 2**32 - 1, 18) + b"Xen\0" + bytes(4), "beyond its segment"),
    ],
)
@WIDTHS
def test_a_bad_note_is_refused_at_its_offset(notes: bytes, reason: str, wide: bool) -> None:
    error = refusal(make_elf([CODE], notes, wide=wide))
    assert reason in error.message
    assert error.where == f"/k at offset {64 + 2 * 56 if wide else 52 + 2 * 32:#x}"


def test_the_second_of_two_notes_is_refused_at_its_own_offset() -> None:
    first = entry_note(0x10000)
    error = refusal(make_elf([CODE], first + b"rubbish"))
    assert error.where == f"/k at offset {52 + 2 * 32 + len(first):#x}"


def test_too_many_notes_are_refused() -> None:
    notes = note(b"A\0", 1, b"") * (MAX_NOTES + 1)
    assert f"more than {MAX_NOTES} notes" in refusal(make_elf([CODE], notes)).message


def test_as_many_notes_as_allowed_are_accepted() -> None:
    notes = note(b"A\0", 1, b"") * (MAX_NOTES - 1) + entry_note(0x10000)
    assert parse(make_elf([CODE], notes), "/k").entry == 0x10000


def test_images_are_compared_by_identity() -> None:
    content = make_kernel()
    first, second = parse(content, "/k"), parse(content, "/k")
    assert first != second
    assert {first: 1, second: 2}[first] == 1


def test_an_image_is_a_value() -> None:
    image: Image = parse(make_kernel(), "/k")
    with pytest.raises(AttributeError):
        image.entry = 0  # type: ignore[misc]
