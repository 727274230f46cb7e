"""The journal: what is ours, on tmpfs, so that a daemon killed at any moment can be followed by another.

An append-only file of JSON lines. A shell is written down *before* it is made (its UUID is its name in Xen), a domain
before it is unpaused, its exit when it is known, and ``gone`` after the last of its resources has been given back.
A service that was added is written down when it is served, and again before its removal begins.
The file survives the daemon, not the host; neither do the domains.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from lightvm.daemon.config import ServiceSection
from lightvm.errors import JournalFailed
from lightvm.model import CreateRequest, Exit, Mode, Vbd, Vif

COMPACT_BYTES = 8 * 1024 * 1024
"""A journal longer than this, and twice as long as when it was last rewritten, is rewritten with what still lives."""

ROOM_BYTES = 1024 * 1024
"""How much room is claimed ahead: for some thousands of records."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """Base of the records."""


class _Record(_Line, frozen=True, kw_only=True):
    """Base of the records of shells and domains; `uuid` in hexadecimal without dashes."""

    uuid: str


class ShellRecord(_Record, frozen=True, kw_only=True, tag="shell"):
    """A shell is about to be made."""

    flavor: str


class DomainRecord(_Record, frozen=True, kw_only=True, tag="domain"):
    """A shell is about to become a domain, or a domain to be paused or unpaused by its owner.

    `request` is what was asked for, the rest what became of it; the ports are the guest's, for adoption.
    """

    domid: int
    console_port: int
    control_port: int
    name: str
    flavor: str
    memory_kib: int
    vcpus: int
    created: float
    request: CreateRequest
    mode: Mode = Mode.NOXS
    paused: bool = False
    vifs: tuple[Vif, ...] = ()
    vbds: tuple[Vbd, ...] = ()
    restarts: int = 0

    @property
    def in_store(self) -> bool:
        """Whether there is more of it in XenStore than its name."""
        return bool(self.vifs or self.vbds) or self.mode is Mode.XENSTORE


class ExitRecord(_Record, frozen=True, kw_only=True, tag="exit"):
    """A domain has ended; its resources are still to be given back."""

    exit: Exit


class GoneRecord(_Record, frozen=True, kw_only=True, tag="gone"):
    """Nothing of this shell or domain is left."""


class ServiceRecord(_Line, frozen=True, kw_only=True, tag="service"):
    """A service was added; or it is about to be removed, which then has to be brought to its end."""

    name: str
    section: ServiceSection
    removing: bool = False


class ServiceGoneRecord(_Line, frozen=True, kw_only=True, tag="service-gone"):
    """An added service was removed, and so were its domains."""

    name: str


Record = ShellRecord | DomainRecord | ExitRecord | GoneRecord | ServiceRecord | ServiceGoneRecord

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


@dataclass(slots=True)
class Past:
    """What a journal says about the time before: records by UUID or name, and lines that could not be read."""

    shells: dict[str, ShellRecord] = field(default_factory=dict)
    domains: dict[str, DomainRecord] = field(default_factory=dict)
    exits: dict[str, Exit] = field(default_factory=dict)
    services: dict[str, ServiceRecord] = field(default_factory=dict)
    unreadable: int = 0

    def note(self, record: Record) -> None:
        """Apply one record."""
        match record:
            case ShellRecord():
                self.shells[record.uuid] = record
            case DomainRecord():
                self.note_domain(record)
            case ExitRecord():
                self.exits[record.uuid] = record.exit
            case GoneRecord():
                for records in (self.shells, self.domains, self.exits):
                    records.pop(record.uuid, None)
            case ServiceRecord():
                self.services[record.name] = record
            case ServiceGoneRecord():
                self.services.pop(record.name, None)

    def note_domain(self, record: DomainRecord) -> None:
        """Apply the record of a domain. Part of the hot path."""
        self.shells.pop(record.uuid, None)
        self.domains[record.uuid] = record


def read_journal(path: Path) -> Past:
    """Read a journal; a missing one is an empty past.

    A line that is no record, such as the half-written last line of a daemon that was killed, is counted and left
    out: the other lines do not depend on it. Raises `JournalFailed` where the file cannot be read at all.
    """
    past = Past()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return past
    except OSError as exc:
        raise JournalFailed(f"cannot be read: {exc.strerror}", str(path)) from exc
    for line in data.rstrip(b"\0").split(
        b"\n"
    ):  # after the last record there is room that is not used yet
        if not line:
            continue
        try:
            past.note(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            past.unreadable += 1
    return past


class Journal:
    """The open journal of a running daemon; `past` is what it says now.

    The file is mapped, with room claimed ahead: a record costs a copy and no system call, and is as safe from the
    death of the process as one that was written.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there and start a fresh file with what of it still lives. Raises `JournalFailed`."""
        self._path = path
        self._map: mmap.mmap | None = None
        self._end = 0
        self._compact_at = COMPACT_BYTES
        self.past = read_journal(path)
        self.rewrite()

    def rewrite(self) -> None:
        """Replace the file by one that says only what still lives. Raises `JournalFailed`."""
        past = self.past
        records: list[Record] = [
            *past.services.values(),
            *past.shells.values(),
            *past.domains.values(),
        ]
        records += [ExitRecord(uuid=uuid, exit=exit_) for uuid, exit_ in past.exits.items()]
        data = b"".join(_encoder.encode(record) + b"\n" for record in records)
        fresh = self._path.with_suffix(".new")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            fd = os.open(fresh, flags, 0o600)
            try:
                mapped = _map(fd, len(data) + ROOM_BYTES)
            finally:
                os.close(fd)
            mapped[: len(data)] = data
            fresh.rename(self._path)
        except OSError as exc:
            raise JournalFailed(f"cannot be written: {exc.strerror}", str(self._path)) from exc
        self.close()
        self._map, self._end = mapped, len(data)
        self._compact_at = max(COMPACT_BYTES, 2 * len(data))

    @staticmethod
    def encode(record: Record) -> bytes:
        """Return a record as it is written."""
        return _encoder.encode(record) + b"\n"

    def room(self, size: int) -> tuple[mmap.mmap, int] | None:
        """Return where so many bytes may be written before `commit`, or None where they need `append`."""
        mapped, end = self._map, self._end
        return (mapped, end) if mapped is not None and end + size <= len(mapped) else None

    def commit(self, record: DomainRecord, size: int) -> None:
        """Note a record of so many bytes that somebody else has written into the `room`."""
        self._end += size
        self.past.note_domain(record)

    def append(self, record: Record) -> None:
        """Write one record. Raises `JournalFailed`, with nothing of it written."""
        line = self.encode(record)
        end = self._end + len(line)
        if self._map is None or end > len(self._map):
            self._extend(end)
        assert self._map is not None
        self._map[self._end : end] = line
        self._end = end
        if isinstance(record, DomainRecord):
            self.past.note_domain(record)
        else:
            self.past.note(record)

    def tend(self) -> None:
        """Rewrite the file where it has grown long, or claim more room. Raises `JournalFailed`; what is there stays."""
        if self._end > self._compact_at:
            self.rewrite()
        elif self._map is None or self._end + ROOM_BYTES // 2 > len(self._map):
            self._extend(self._end)

    def _extend(self, end: int) -> None:
        """Map the file as far as `end`, and some room beyond it."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                mapped = _map(fd, end + ROOM_BYTES)
            finally:
                os.close(fd)
        except OSError as exc:
            raise JournalFailed(f"cannot be written: {exc.strerror}", str(self._path)) from exc
        self.close()
        self._map = mapped

    def close(self) -> None:
        """Let go of the file. It stays."""
        if self._map is not None:
            self._map.close()
            self._map = None


def _map(fd: int, size: int) -> mmap.mmap:
    """Claim the space and map it: writing there cannot fail any more. Raises `OSError`."""
    os.posix_fallocate(fd, 0, size)
    return mmap.mmap(fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
