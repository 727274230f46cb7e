"""Kernel files made to measure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

PT_LOAD, PT_NOTE = 1, 4
ENTRY_NOTE = 18
CONTROL_READY = 0xFF00_1008
"""Guest address of the word `ready` of the control page (``native/src/lvm_layout.h``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A loadable segment; `memsz` is the length of the data where nothing else is said."""

    paddr: int
    data: bytes
    memsz: int | None = None


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    """Return one ELF note; `name` has its NUL already."""

    def pad(part: bytes) -> bytes:
        return part + bytes(-len(part) % 4)

    return struct.pack("<III", len(name), len(desc), kind) + pad(name) + pad(desc)


def entry_note(entry: int, width: int = 4) -> bytes:
    """Return the note that makes a file a PVH kernel."""
    return note(b"Xen\0", ENTRY_NOTE, entry.to_bytes(width, "little"))


def device_page_note(version: int = 1) -> bytes:
    """Return the note of a guest that reads the device page."""
    return note(b"LightVM\0", 1, version.to_bytes(4, "little"))


def make_elf(
    loads: Sequence[Load],
    notes: bytes = b"",
    *,
    wide: bool = False,
    kind: int = 2,
    machine: int = 3,
) -> bytes:
    """Return an ELF file: headers, then one PT_NOTE with the notes where there are any, then the data."""
    header_size, entry_size = (64, 56) if wide else (52, 32)
    pieces = [(PT_NOTE, 0, notes, len(notes))] if notes else []
    for load in loads:
        memsz = len(load.data) if load.memsz is None else load.memsz
        pieces.append((PT_LOAD, load.paddr, load.data, memsz))
    at = header_size + entry_size * len(pieces)
    programs = b""
    for type_, paddr, data, memsz in pieces:
        programs += _program(wide, type_, at, paddr, len(data), memsz)
        at += len(data)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    layout = "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH"
    header = ident + struct.pack(
        layout,
        kind,
        machine,
        1,
        0,
        header_size,
        0,
        0,
        header_size,
        entry_size,
        len(pieces),
        0,
        0,
        0,
    )
    return header + programs + b"".join(data for _, _, data, _ in pieces)


def _program(wide: bool, type_: int, offset: int, paddr: int, filesz: int, memsz: int) -> bytes:
    if wide:
        return struct.pack("<IIQQQQQQ", type_, 7, offset, paddr, paddr, filesz, memsz, 4)
    return struct.pack("<IIIIIIII", type_, offset, paddr, paddr, filesz, memsz, 7, 4)


def make_kernel(*, paddr: int = 0x10000, size: int = 4096, wide: bool = False) -> bytes:
    """Return a good kernel of `size` bytes, of which only the last do anything: they say that it is ready.

    So whoever hears that knows that all of it was loaded.
    """
    say_ready = b"\xc7\x05" + struct.pack("<II", CONTROL_READY, 1)  # movl $1, ready
    code = say_ready + b"\xf4"  # hlt; with interrupts off that is the end of the last vCPU
    return make_elf(
        [Load(paddr=paddr, data=b"\x90" * (size - len(code)) + code)],
        entry_note(paddr) + device_page_note(),
        wide=wide,
    )
