"""Python's collector of cycles, kept off the path of requests."""

from __future__ import annotations

import gc

import trio

from lightvm.daemon.quiet import Quiet

PAUSE_SECONDS, PATIENCE_SECONDS = 1.0, 10.0
"""How long between two looks, and how long one may be put off."""

WHOLE_SECONDS = 3600.0
"""How often everything is looked at, not only what is new."""


async def collect_garbage(quiet: Quiet) -> None:
    """Look for cycles when nobody waits, for ever.

    By itself the collector looks whenever enough has been allocated, which is in the middle of a create, and the longer
    the more domains there are. Here each look is at what is new only; what lives on is left alone from then on, since
    nothing that lives long here goes in a cycle, and if it does, the whole look finds it.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        while True:
            with trio.move_on_after(WHOLE_SECONDS):
                await _look_at_new(quiet)
            gc.unfreeze()
    finally:
        gc.enable()


async def _look_at_new(quiet: Quiet) -> None:
    while True:
        gc.collect()
        gc.freeze()
        await trio.sleep(PAUSE_SECONDS)
        with trio.move_on_after(PATIENCE_SECONDS):
            await quiet.wait()
