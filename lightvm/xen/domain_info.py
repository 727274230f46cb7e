"""Domains from outside: as Xen lists them, and as they should be."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lightvm.model import ExitReason

_REASONS = {
    0: ExitReason.POWEROFF,
    1: ExitReason.REBOOT,
    2: ExitReason.SUSPEND,
    3: ExitReason.CRASH,
}


def exit_reason(code: int) -> ExitReason:
    """Return the meaning of one of Xen's shutdown codes; what is not a plain end counts as a crash."""
    return _REASONS.get(code, ExitReason.CRASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainInfo:
    """A domain as Xen lists it; `gone` ones only come from `Hypervisor.find_changed`."""

    domid: int
    uuid: bytes
    memory_kib: int
    vcpus: int
    cpu_ns: int
    paused: bool
    dying: bool
    shutdown: bool
    shutdown_code: int
    gone: bool = False


_WATCHED = struct.Struct("@II16s")


class Watched(bytes):
    """A domain as it should be, in the form that the engine has it in (`struct lvm_watched`)."""

    __slots__ = ()

    def __new__(cls, domid: int, uuid: bytes, paused: bool = False) -> Watched:
        """Watch a domain."""
        return super().__new__(cls, _WATCHED.pack(domid, paused, uuid))

    def unpack(self) -> tuple[int, bytes, bool]:
        """Return domid, UUID, and whether it should be paused."""
        domid, paused, uuid = _WATCHED.unpack(self)
        return domid, uuid, paused != 0
