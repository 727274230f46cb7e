"""Signals that stop a command: they unwind it, so that everything it started is ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked this command to stop; not an Exception, so that nothing swallows it."""


def unwind_on_signals() -> None:
    """Turn every stopping signal of this process into one `Interrupted`."""
    for signum in STOPPING:
        signal.signal(signum, interrupt)


def interrupt(signum: int, _frame: FrameType | None) -> None:
    """Raise `Interrupted`, and let no second signal disturb the cleaning up."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(signal.Signals(signum).name)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold back the stopping signals in the block, and deliver them after it.

    For the few lines between the birth of a process and the note that makes it findable: an
    exception there would leave the process to nobody.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python runs signal handlers in the main thread only, so nothing is raised here anyway.
        yield
        return
    pending: list[int] = []
    previous = {}
    for signum in STOPPING:
        handler = signal.getsignal(signum)
        if callable(handler):
            previous[signum] = handler
            signal.signal(signum, lambda number, _frame: pending.append(number))
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
        for number in pending[:1]:
            signal.raise_signal(number)
