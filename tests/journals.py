"""Journals as tests look at them."""

from __future__ import annotations

from pathlib import Path


def written(path: Path) -> bytes:
    """Return the records in a journal, without the room that follows them."""
    return path.read_bytes().rstrip(b"\0")
