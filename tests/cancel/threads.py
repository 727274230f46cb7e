"""Worker threads that can be made to hang, without threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

DEVICE_STEPS = (
    "_connect",
    "_disconnect",
    "_bind",
    "open_disks",
    "bind",
    "forget",
    "_plug_late",
)
"""What the daemon does for devices in a thread, by the name of the function."""


class Threads:
    """Stands for trio's worker threads: what runs there is never abandoned, so neither does it end early here."""

    def __init__(self) -> None:
        self._hangs: dict[str, trio.Event] = {}

    def hang(self, step: str) -> trio.Event:
        """Make calls of a function wait until the event is set."""
        self._hangs[step] = trio.Event()
        return self._hangs[step]

    async def run_sync(
        self,
        function: Callable[..., T],
        *args: object,
        thread_name: str | None = None,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        """Call a function, at once but for those that hang."""
        await trio.lowlevel.checkpoint()
        async with limiter or contextlib.nullcontext():
            if (hang := self._hangs.get(getattr(function, "__name__", ""))) is not None:
                with trio.CancelScope(shield=True):
                    await hang.wait()
            return function(*args)
