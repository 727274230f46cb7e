"""The other way of a console: one writer at a time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.errors import NotPossibleNow, TimedOut
from lightvm.xen.hypervisor import Hypervisor

WRITE_SECONDS = 5.0
LOOK_SECONDS = 0.02


@contextmanager
def attach(domain: LiveDomain) -> Iterator[str]:
    """Have a console's input for the length of a block; yields the word by which one may write.

    Raises `NotPossibleNow` where somebody else has it.
    """
    if domain.writer is not None:
        raise NotPossibleNow("somebody else is attached to the console", domain.record.name)
    domain.writer = secrets.token_hex(8)
    try:
        yield domain.writer
    finally:
        domain.writer = None


async def write_console(
    hypervisor: Hypervisor,
    lifecycle: Lifecycle,
    domain: LiveDomain,
    data: bytes,
    writer: str | None,
) -> None:
    """Give a guest input; returns when its ring has taken all of it.

    Raises `NotPossibleNow` where somebody else has the input, or the domain has exited, `TimedOut` where the guest does
    not read, and `HypercallError` where its ring is corrupt.
    """
    with trio.move_on_after(WRITE_SECONDS):
        while True:
            handle = lifecycle.running(domain)
            if domain.writer not in (None, writer):
                raise NotPossibleNow("somebody else is attached to the console", domain.record.name)
            data = data[hypervisor.put_console(handle, data) :]
            if not data:
                return
            await trio.sleep(LOOK_SECONDS)
    raise TimedOut(
        f"the guest does not read its console; {len(data)} bytes are left", domain.record.name
    )
