"""The console buffer against plain bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lightvm.daemon.console import ConsoleBuffer

PIECES = st.lists(st.binary(max_size=20), max_size=30)


def test_an_empty_buffer_has_nothing_at_0() -> None:
    assert ConsoleBuffer(8).read(None) == (0, b"")


def test_a_buffer_can_start_anywhere() -> None:
    buffer = ConsoleBuffer(8, start=100)
    buffer.append(b"abc")
    assert buffer.read(None) == (100, b"abc")
    assert buffer.end == 103


@given(limit=st.integers(1, 40), pieces=PIECES)
def test_the_last_bytes_are_kept_with_their_offsets(limit: int, pieces: list[bytes]) -> None:
    buffer, written = ConsoleBuffer(limit), b""
    for piece in pieces:
        buffer.append(piece)
        written += piece
        kept = written[-limit:]
        assert buffer.end == len(written)
        assert buffer.start == len(written) - len(kept)
        assert buffer.read(None) == (buffer.start, kept)


@given(
    limit=st.integers(1, 40),
    pieces=PIECES,
    offset=st.integers(-5, 700),
    most=st.integers(0, 50),
)
def test_a_read_returns_what_is_kept_from_an_offset_on(
    limit: int, pieces: list[bytes], offset: int, most: int
) -> None:
    buffer, written = ConsoleBuffer(limit), b"".join(pieces)
    for piece in pieces:
        buffer.append(piece)
    first, data = buffer.read(offset, most)
    assert buffer.start <= first <= buffer.end
    assert data == written[first : first + most]
    if buffer.start <= offset <= buffer.end:
        assert first == offset


@given(limit=st.integers(1, 40), pieces=PIECES)
def test_a_reader_that_follows_sees_every_byte_that_it_is_not_told_is_lost(
    limit: int, pieces: list[bytes]
) -> None:
    buffer, written, seen, at = ConsoleBuffer(limit), b"", b"", 0
    for number, piece in enumerate(pieces):
        buffer.append(piece)
        written += piece
        if number % 3 == 0:
            first, data = buffer.read(at)
            assert first >= at
            seen += b"?" * (first - at) + data
            at = first + len(data)
            assert len(seen) == buffer.end
    assert all(a in (b, ord("?")) for a, b in zip(seen, written, strict=False))
