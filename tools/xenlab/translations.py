"""Has the memory for what QEMU translates there before a machine starts, as `prealloc` has the machine's own.

Otherwise QEMU gets it from its host bit by bit, a huge page at a time, whenever it translates what has not been
executed before, such as a new guest; and what is to be measured stands still for milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
HUGE_PAGE = 2 << 20
PRESENT = 1 << 63
"""Of a page's 64 bits in ``/proc/PID/pagemap`` (Documentation/admin-guide/mm/pagemap.rst)."""


def populate_translations(pid: int) -> int:
    """Have all memory there that a process may write to and execute; return how many huge pages there were not yet.

    For a QEMU that is paused and translates nothing meanwhile. What is in the memory stays.
    """
    taken = 0
    with (
        Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory,
        Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pages,
    ):
        for start, end in _find_translations(pid):
            for at in range(-(-start // HUGE_PAGE) * HUGE_PAGE, end - HUGE_PAGE + 1, HUGE_PAGE):
                pages.seek(at // PAGE * 8)
                bits = struct.unpack(f"={HUGE_PAGE // PAGE}Q", pages.read(HUGE_PAGE // PAGE * 8))
                if not any(each & PRESENT for each in bits):
                    memory.seek(at)
                    memory.write(b"\0")  # as it reads already
                    taken += 1
    return taken


def _find_translations(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        area, access, _, _, inode, *_ = line.split()
        if access == "rwxp" and inode == "0":
            start, end = area.split("-")
            yield int(start, 16), int(end, 16)
