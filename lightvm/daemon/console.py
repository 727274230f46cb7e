"""Console output of a domain: kept from the first byte on, within a bound, longer than the domain lives."""

from __future__ import annotations

from collections import deque


class ConsoleBuffer:
    """The last `limit` bytes that a guest wrote, with their offsets since its first byte."""

    __slots__ = ("_chunks", "_kept", "_limit", "end")

    def __init__(self, limit: int, start: int = 0) -> None:
        self._limit = limit
        self._chunks: deque[bytes] | tuple[()] = ()  # many a guest never writes anything
        self._kept = 0
        self.end = start
        """Offset of the byte that comes next."""

    @property
    def start(self) -> int:
        """Offset of the oldest byte that is still kept."""
        return self.end - self._kept

    def append(self, data: bytes) -> None:
        """Add output; the oldest chunks go when there is too much."""
        if not isinstance(self._chunks, deque):
            self._chunks = deque()
        self._chunks.append(data)
        self._kept += len(data)
        self.end += len(data)
        while self._kept > self._limit:
            excess = self._kept - self._limit
            oldest = self._chunks[0]
            if len(oldest) > excess:
                self._chunks[0] = oldest[excess:]
                self._kept -= excess
            else:
                self._chunks.popleft()
                self._kept -= len(oldest)

    def read(self, offset: int | None, most: int = 1 << 20) -> tuple[int, bytes]:
        """Return at most `most` bytes from an offset on, and the offset of the first of them.

        An offset of None, or one that is too old, means the oldest byte; one beyond the end means the end.
        """
        first = self.start if offset is None else min(max(offset, self.start), self.end)
        data = b"".join(self._chunks)
        skip = first - self.start
        return first, data[skip : skip + most]
