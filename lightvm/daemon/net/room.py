"""Room in bridges: a Linux bridge has a limited number of ports, and that shows before a shell is made for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from lightvm.errors import LinkFailed

MAX_PORTS = 1023
"""Linux' ``BR_MAX_PORTS``, of which number 0 is never given out (``find_portno``)."""


class NoRoom(LinkFailed):
    """A bridge is full; nothing was made."""


class Room:
    """The ports that shells which are being made are going to need; `count` returns how many a bridge has."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._coming: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, bridges: Sequence[str]) -> AsyncIterator[None]:
        """Keep room for the ports of one shell until it has them.

        `bridges` names a bridge as often as there are ports. Raises `NoRoom` where there is none. A port that
        is there already, but whose shell is not made yet, counts twice: better no to the last than one too many.
        """
        wanted = Counter(bridges)
        ahead = {bridge: self._coming[bridge] for bridge in wanted}
        self._coming.update(wanted)
        try:
            for bridge, number in wanted.items():
                there = await trio.to_thread.run_sync(self._count, bridge)
                if there + ahead[bridge] + number > MAX_PORTS:
                    raise NoRoom(
                        f"the bridge is full: a Linux bridge has at most {MAX_PORTS} ports; "
                        "networks with other bridges have room of their own",
                        bridge,
                    )
            yield
        finally:
            self._coming.subtract(wanted)
