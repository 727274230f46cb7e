"""The toolstack's header of what it agrees on with guests, read as text."""

from __future__ import annotations

import math
import re
from pathlib import Path

HEADER = Path(__file__).resolve().parents[1] / "native/src/lvm_layout.h"

STRUCT = re.compile(r"struct (lvm_\w+) \{\n(.*?)\n\};", re.DOTALL)
FIELD = re.compile(r"^\s*(?:uint(\d+)_t|struct (\w+)) ([^;]+);", re.MULTILINE)
NUMBER = re.compile(r"#define (\w+) (0x[0-9a-f]+|\d+)u?\b")
MACRO = re.compile(r"#define (\w+)\(i\) (.*)")


def constants() -> dict[str, int]:
    """Return the header's plain numbers."""
    return {name: int(value, 0) for name, value in NUMBER.findall(HEADER.read_text())}


def macro(name: str, i: int) -> int:
    """Return what a macro of one argument stands for."""
    body = dict(MACRO.findall(HEADER.read_text()))[name]
    value = eval(re.sub(r"(\d)u\b", r"\1", body), {"i": i, **constants()})
    assert isinstance(value, int)
    return value


def structs() -> list[str]:
    """Return the names of the header's structs."""
    return list(dict(STRUCT.findall(HEADER.read_text())))


def layout(name: str) -> dict[str, tuple[int, int]]:
    """Return offset and size of each field of a struct."""
    numbers = constants()
    places, offset = {}, 0
    for bits, inner, names in FIELD.findall(dict(STRUCT.findall(HEADER.read_text()))[name]):
        unit = int(bits) // 8 if bits else sum(size for _, size in layout(inner).values())
        for declared in names.split(","):
            field, *counts = re.findall(r"\w+", declared)
            assert offset % min(unit, 8) == 0, f"{name}.{field} is not aligned by itself"
            size = unit * math.prod(numbers.get(count) or int(count) for count in counts)
            places[field] = (offset, size)
            offset += size
    return places
