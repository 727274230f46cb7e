"""What the commands print: errors, tables, JSON, and quantities for people.

Names, paths and messages may come from anybody who can reach the daemon, so no control character of
theirs gets to a terminal.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # type checkers take this name for true; the import from typing costs time
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from lightvm.model import Exit

_UNITS_S = (("d", 86400), ("h", 3600), ("m", 60))


def printable(text: str) -> str:
    """Return `text` with control and other unprintable characters as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_error(code: str, message: str) -> None:
    """Print the one line on stderr that an error gets."""
    print(f"lightvm: {printable(code)}: {printable(message)}", file=sys.stderr)


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """Print rows in columns under a header; those named in `right` are aligned to the right."""
    lines = [tuple(header), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.rjust(width) if title in right else cell.ljust(width)
            for cell, width, title in zip(line, widths, header, strict=True)
        )
        print("  ".join(cells).rstrip())


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print one ``name: value`` per line."""
    lines = list(fields)
    width = max(len(name) for name, _ in lines) + 1
    for name, value in lines:
        print(f"{name + ':':<{width}}  {printable(value)}".rstrip())


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, at once."""
    import msgspec

    print(msgspec.json.encode(value).decode(), flush=True)


def size(kib: int) -> str:
    """Return a size in the largest unit that divides it, in the form that ``--memory`` takes."""
    for unit, factor in (("G", 1024 * 1024), ("M", 1024)):
        if kib and kib % factor == 0:
            return f"{kib // factor}{unit}"
    return f"{kib}K"


def age(seconds: float) -> str:
    """Return how long something has lasted, in its largest unit; never less than 0s."""
    for unit, factor in _UNITS_S:
        if seconds >= factor:
            return f"{int(seconds // factor)}{unit}"
    return f"{max(0, int(seconds))}s"


def moment(seconds: float) -> str:
    """Return a moment, given in seconds since the epoch, in local time to the millisecond."""
    import time

    try:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"
    return f"{clock}.{int(seconds * 1000) % 1000:03}"


def outcome(end: Exit) -> str:
    """Return how a domain ended: the reason, and the guest's status where it gave one."""
    return end.reason if end.status is None else f"{end.reason} {end.status}"


def milliseconds(us: int) -> str:
    """Return a duration given in microseconds."""
    return f"{us / 1000:.2f} ms"
