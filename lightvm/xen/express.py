"""Creates that are ready but for somebody who asks for them: what is on offer, and what came of it.

The values that `lightvm.xen.hypervisor.Hypervisor.attend` works with. What it does is in ``native/src/express.c``.
"""

from __future__ import annotations

import mmap
import select
import socket
from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec

from lightvm.errors import LightVMError
from lightvm.xen.hypervisor import Boot, Handle

SOME_TIME = 1111111111.111111
"""Stands for a time of day that is not known yet: as text it takes as much room as any until the year 2286."""

SOME_DURATION = 1111111111
"""Stands for a duration in microseconds."""

_TIMES = ("created", "ready")
_DURATIONS = ("load_us", "journal_us", "unpause_us", "ready_us", "total_us")
BLANKS = (*_TIMES, *_DURATIONS)
"""The moments that a form can have, by name."""


class Form(msgspec.Struct, frozen=True):
    """Bytes of JSON that are ready but for some moments: where each of them goes, 0 for those that it does not have."""

    data: bytes
    created: int = 0
    ready: int = 0
    load_us: int = 0
    journal_us: int = 0
    unpause_us: int = 0
    ready_us: int = 0
    total_us: int = 0

    @classmethod
    def of(cls, data: bytes) -> Form:
        """Return the form that these bytes are, with `SOME_TIME` and `SOME_DURATION` where moments go.

        Within a string a quotation mark has a backslash before it, so that a key cannot be found there.
        """
        times = {name: _find(data, name, b"%.6f" % SOME_TIME) for name in _TIMES}
        durations = {name: _find(data, name, b"%d" % SOME_DURATION) for name in _DURATIONS}
        return cls(data, **times, **durations)


def _find(data: bytes, key: str, value: bytes) -> int:
    name = b'"%b":' % key.encode()
    place = data.find(name + value)
    return place + len(name) if place >= 0 else 0


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A create that is ready but for somebody who asks for it.

    `path` and `identity` (device, inode, size, time of modification in nanoseconds) are of the file that the image was
    read from, and has to be still.
    """

    handle: Handle
    boot: Boot
    path: str
    identity: tuple[int, int, int, int]
    record: Form
    reply: Form


MOST_LINES = 16
"""Of tickets, at once (``LVM_LINES``)."""


class Series(msgspec.Struct, frozen=True):
    """The words of a call without its NUL, and issued tickets for those who say them, in the order to be taken.

    Several calls may have one line of tickets: then they have the same number, below `MOST_LINES`.
    """

    call: bytes
    tickets: list[object]
    line: int = 0


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody is waited for: who, how long, and what is on offer.

    `epoll` watches everybody who has to be heard, the guests among them. So long, `seconds`, is the client waited for,
    and then a guest that is not ready within `spin_us`. The record of what is taken goes into `journal` from `end` on,
    where there is room for that of each ticket. `offset_ns` leads from `time.perf_counter_ns` to the time of day.
    A line may be extended, until it has had so many tickets, `most`.
    """

    epoll: select.epoll
    peer: socket.socket
    seconds: float
    spin_us: int
    offset_ns: int
    journal: mmap.mmap
    end: int
    series: Sequence[Series]
    most: int = 0


class Stage(IntEnum):
    """How far it came (``native/src/lvm.h``)."""

    NOBODY = 0
    OTHERS = 1
    SAID = 2
    SPOILT = 3
    RUNNING = 4
    ANSWERED = 5


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a ticket, from `Stage.SPOILT` on; moments in nanoseconds of `time.perf_counter_ns`."""

    stage: Stage
    journalled: int = 0
    error: LightVMError | None = None
    begun: int = 0
    loaded: int = 0
    asked: int = 0
    running: int = 0


class Attended(Outcome, frozen=True, kw_only=True):
    """What came of waiting for somebody; `alone` where nobody else has anything.

    From `Stage.SPOILT` on a `ticket` of a series, by its `number`, was taken. What was said and is not carried out is
    in `data`, empty where the other side has gone, None where there is nothing such.
    """

    alone: bool = False
    data: bytes | None = None
    number: int = 0
    ticket: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest has said when it was looked at, that was `heard` in nanoseconds of `time.perf_counter_ns`.

    Where it is ready its client was sent the reply, of which `unsent` could not be written yet. It may have said that
    it is `exiting`, too. It was `late` where it was not ready within the moment. Where its client was waited for again
    right after the reply, `next` is what came of that.
    """

    ready: bool
    exiting: bool = False
    heard: int = 0
    unsent: bytes = b""
    late: bool = False
    next: Attended | None = None


MOST_SERVED = 32
"""How many of a crowd are served at once (``LVM_CROWD_MAX``)."""


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients are heard, all those at rest at once. The rest is as in `Desk`.

    A client is at rest where nothing was read of it that is not answered: there `resting` has 1, by its descriptor.
    """

    epoll: select.epoll
    resting: bytearray
    spin_us: int
    offset_ns: int
    journal: mmap.mmap
    end: int
    series: Sequence[Series]


class Served(Outcome, frozen=True, kw_only=True):
    """One of a crowd, by its descriptor; a ticket of a series, by its `number`, was taken.

    Where it is spoilt, its call was read, and is to be carried out all the same.
    """

    client: int
    number: int
    ticket: int


Join = Callable[[Sequence[bytes]], tuple[bytearray, Sequence[int]]]
"""Makes one reply of several, and says where in it each of them would begin."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Issued tickets of one image, for somebody who wants several domains; the rest is as in `Desk`.

    While the guests boot, the forms of all replies are joined. Where all of them are ready, `tell` is called with what
    that has become, before anything else.
    """

    tickets: Sequence[object]
    spin_us: int
    offset_ns: int
    journal: mmap.mmap
    end: int
    join: Join
    tell: Callable[[bytes], None] | None = None


class Carried(Outcome, frozen=True, kw_only=True):
    """One of a batch. A guest that is ready (`Stage.ANSWERED`) may have said that it is `exiting`, too."""

    exiting: bool = False
    heard: int = 0
