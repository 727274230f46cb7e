"""Kernel files: ELF with a PVH entry note, checked byte by byte and laid out once.

Sources: ELF (System V ABI, chapters 4 and 5); ``XEN_ELFNOTE_PHYS32_ENTRY`` in ``xen/include/public/elfnote.h``;
the device page note in ``docs/device-page.md``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lightvm.errors import BadImage

PAGE = 4096
BOOT_PAGE = (PAGE, 2 * PAGE)
"""Guest addresses of the boot page, which no segment may touch (``native/src/lvm_layout.h``)."""

LOW_RAM_LIMIT = 0xE000_0000
"""Images and modules are placed below this address."""

CMDLINE_MAX = 0xC00 - 1
"""Longest command line, in bytes."""

MODULES_MAX = 14
MAX_SEGMENTS = 64
MAX_NOTES = 256

_PT_LOAD, _PT_NOTE = 1, 4
_EM_386, _EM_X86_64 = 3, 62
_ET_EXEC, _ET_DYN = 2, 3
_NOTE_PHYS32_ENTRY = (b"Xen", 18)
_NOTE_DEVICE_PAGE = (b"LightVM", 1)
DEVICE_PAGE_VERSION = 1
"""Version of the device page that this release writes (``docs/device-page.md``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Bytes for guest memory: `data` at physical address `paddr`, then zeros up to `memsz` bytes in all."""

    paddr: int
    memsz: int
    data: memoryview

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.paddr + self.memsz


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """A kernel file ready to be copied into any shell that is large enough.

    `entry` is the 32-bit PVH entry point. `device_page` says that the guest announced in an ELF note that it reads
    LightVM's device page.
    """

    path: str
    entry: int
    segments: tuple[Segment, ...]
    device_page: bool

    @cached_property
    def end(self) -> int:
        """The address after the highest byte of the image."""
        return max(segment.end for segment in self.segments)

    @property
    def size(self) -> int:
        """Bytes of the file held in memory."""
        return sum(len(segment.data) for segment in self.segments)


class _Header(NamedTuple):
    """How the program header table of this class of ELF is laid out."""

    phoff: int
    phentsize: int
    phnum: int
    wide: bool


class _Program(NamedTuple):
    kind: int
    offset: int
    paddr: int
    filesz: int
    memsz: int
    at: int


class _Note(NamedTuple):
    key: tuple[bytes, int]
    at: int
    desc: memoryview


def parse(data: bytes, path: str) -> Image:
    """Check an ELF file and lay it out.

    Every offset and size is checked against the file; what cannot be right raises `BadImage` with the offset of
    the offending bytes. Pure computation; the image keeps views into `data`.
    """
    header = _parse_header(data, path)
    segments: list[Segment] = []
    entry: int | None = None
    device_page = False
    for program in _programs(data, path, header):
        if program.kind == _PT_LOAD and program.memsz:
            segments.append(_segment(data, path, program))
        elif program.kind == _PT_NOTE:
            for note in _notes(data, path, program):
                if note.key == _NOTE_PHYS32_ENTRY:
                    entry = _entry_of(note.desc, path, note.at)
                elif note.key == _NOTE_DEVICE_PAGE:
                    device_page = _device_page_of(note.desc, path, note.at)
    if not segments:
        raise BadImage("no loadable segment", path)
    if entry is None:
        raise BadImage("no PVH entry note (Xen, type 18): not a PVH kernel", path)
    segments.sort(key=lambda segment: segment.paddr)
    _check_placement(segments, path)
    if not any(segment.paddr <= entry < segment.end for segment in segments):
        raise BadImage(f"entry point {entry:#x} lies in no segment", path)
    return Image(path=path, entry=entry, segments=tuple(segments), device_page=device_page)


def place_modules(
    image: Image, modules: tuple[tuple[str, bytes], ...], ram_bytes: int
) -> tuple[Segment, ...]:
    """Place boot modules at the top of low RAM, the first lowest, each on a page of its own.

    `modules` are pairs of path and content. Raises `BadImage` where they do not fit between image and top of RAM.
    """
    top = min(ram_bytes, LOW_RAM_LIMIT)
    placed: list[Segment] = []
    for path, content in reversed(modules):
        top = (top - len(content)) // PAGE * PAGE
        if top < max(image.end, BOOT_PAGE[1]):
            raise BadImage(
                f"modules do not fit into {ram_bytes // 1024} KiB beside the image", path
            )
        placed.append(Segment(paddr=top, memsz=len(content), data=memoryview(content)))
    return tuple(reversed(placed))


def check_fits(image: Image, ram_bytes: int) -> None:
    """Raise `BadImage` where the image does not fit into a domain of that much RAM."""
    top = min(ram_bytes, LOW_RAM_LIMIT)
    if image.end > top:
        needed = (image.end + 1023) // 1024
        raise BadImage(
            f"too large: needs {needed} KiB of RAM, the domain has {top // 1024}", image.path
        )


def _bad(path: str, offset: int, reason: str) -> BadImage:
    return BadImage(reason, f"{path} at offset {offset:#x}")


def _parse_header(data: bytes, path: str) -> _Header:
    if len(data) < 52:
        raise _bad(path, 0, f"truncated: {len(data)} bytes is shorter than an ELF header")
    if data[:4] != b"\x7fELF":
        raise _bad(path, 0, "not an ELF file")
    if data[5] != 1:
        raise _bad(path, 5, "not little-endian")
    if data[4] not in (1, 2):
        raise _bad(path, 4, f"unknown ELF class {data[4]}")
    wide = data[4] == 2
    if wide and len(data) < 64:
        raise _bad(path, 0, f"truncated: {len(data)} bytes is shorter than an ELF64 header")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if kind not in (_ET_EXEC, _ET_DYN):
        raise _bad(path, 16, f"not an executable (ELF type {kind})")
    if machine not in (_EM_386, _EM_X86_64):
        raise _bad(path, 18, f"not for x86 (ELF machine {machine})")
    if wide:
        (phoff,) = struct.unpack_from("<Q", data, 32)
        phentsize, phnum = struct.unpack_from("<HH", data, 54)
    else:
        (phoff,) = struct.unpack_from("<I", data, 28)
        phentsize, phnum = struct.unpack_from("<HH", data, 42)
    if phentsize != (56 if wide else 32):
        raise _bad(path, 54 if wide else 42, f"program header size is {phentsize}")
    if not 1 <= phnum <= MAX_SEGMENTS:
        raise _bad(
            path, 56 if wide else 44, f"{phnum} program headers; 1 to {MAX_SEGMENTS} are accepted"
        )
    if phoff > len(data) or phnum * phentsize > len(data) - phoff:
        raise _bad(path, phoff, "truncated: program headers reach beyond the end of the file")
    return _Header(phoff, phentsize, phnum, wide)


def _programs(data: bytes, path: str, header: _Header) -> list[_Program]:
    programs = []
    for index in range(header.phnum):
        at = header.phoff + index * header.phentsize
        if header.wide:
            kind, _, offset, _, paddr, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", data, at)
        else:
            kind, offset, _, paddr, filesz, memsz, _, _ = struct.unpack_from("<IIIIIIII", data, at)
        if kind in (_PT_LOAD, _PT_NOTE) and (offset > len(data) or filesz > len(data) - offset):
            raise _bad(path, at, f"truncated: segment {index} reaches beyond the end of the file")
        programs.append(_Program(kind, offset, paddr, filesz, memsz, at))
    return programs


def _segment(data: bytes, path: str, program: _Program) -> Segment:
    if program.filesz > program.memsz:
        raise _bad(path, program.at, "segment has more bytes in the file than in memory")
    if program.paddr + program.memsz > LOW_RAM_LIMIT:
        raise _bad(path, program.at, f"segment ends above {LOW_RAM_LIMIT:#x}")
    view = memoryview(data)[program.offset : program.offset + program.filesz]
    return Segment(paddr=program.paddr, memsz=program.memsz, data=view)


def _check_placement(segments: list[Segment], path: str) -> None:
    previous = 0
    for segment in segments:
        if segment.paddr < previous:
            raise BadImage(f"segments overlap at address {segment.paddr:#x}", path)
        if segment.paddr < BOOT_PAGE[1] and segment.end > BOOT_PAGE[0]:
            raise BadImage(
                f"segment {segment.paddr:#x}-{segment.end:#x} overlaps the boot page "
                f"{BOOT_PAGE[0]:#x}-{BOOT_PAGE[1]:#x}",
                path,
            )
        previous = segment.end


def _notes(data: bytes, path: str, program: _Program) -> list[_Note]:
    view = memoryview(data)  # notes of any length are looked at without being copied
    notes: list[_Note] = []
    at, end = program.offset, program.offset + program.filesz
    while at < end:
        if end - at < 12:
            raise _bad(path, at, "truncated note header")
        if len(notes) == MAX_NOTES:
            raise _bad(path, at, f"more than {MAX_NOTES} notes")
        namesz, descsz, kind = struct.unpack_from("<III", data, at)
        name_at = at + 12
        desc_at = name_at + (namesz + 3) // 4 * 4
        if desc_at > end or descsz > end - desc_at:
            raise _bad(path, at, "note reaches beyond its segment")
        name = bytes(view[name_at : name_at + namesz]).rstrip(b"\0") if namesz <= 16 else b""
        notes.append(_Note((name, kind), at, view[desc_at : desc_at + descsz]))
        at = desc_at + (descsz + 3) // 4 * 4
    return notes


def _entry_of(desc: memoryview, path: str, at: int) -> int:
    if len(desc) not in (4, 8):
        raise _bad(path, at, f"PVH entry note has {len(desc)} bytes, 4 or 8 are right")
    entry = int.from_bytes(desc, "little")
    if entry >= LOW_RAM_LIMIT:
        raise _bad(path, at, f"PVH entry point {entry:#x} is not below {LOW_RAM_LIMIT:#x}")
    return entry


def _device_page_of(desc: memoryview, path: str, at: int) -> bool:
    if len(desc) != 4:
        raise _bad(path, at, f"device page note has {len(desc)} bytes, 4 are right")
    version = int.from_bytes(desc, "little")
    if version < DEVICE_PAGE_VERSION:
        raise _bad(
            path, at, f"guest reads device page version {version}, this is {DEVICE_PAGE_VERSION}"
        )
    return True
