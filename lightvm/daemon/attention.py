"""Attention to one client for a moment, past the event loop.

A pass through trio's loop takes several times the instructions of reading a call and writing its reply, and a client
that makes one call after the other would pay it each time. So whoever has just been answered, and is known to be quick,
is waited for where a system call suffices, unless anybody else wants something.
"""

from __future__ import annotations

import select
import socket
import time

import trio

PASSES = 20
"""A moment is as long as so many passes through the event loop take, of which an answer in time saves one."""

SHORTEST_SECONDS, LONGEST_SECONDS = 0.001, 0.02
"""How long the event loop may stand still for it. Nothing is that urgent which is not watched here."""

MOST_LOOKED_AT = 8

MOST_IN_VAIN = 2
"""After so many moments for nothing a client that has paused is not expected to be quick after its next call."""

_now = time.perf_counter


class Attention:
    """What the daemon may wait for without its event loop: calls, new clients and events of guests."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        """Watches all of them."""
        self.moment = 0.0
        """How long to wait, in seconds, once `fit_moment` has set it."""
        self._holder: object = None

    async def fit_moment(self) -> None:
        """Measure how quick this machine is."""
        begun = _now()
        for _ in range(PASSES):
            await trio.lowlevel.checkpoint()
        self.moment = min(max(_now() - begun, SHORTEST_SECONDS), LONGEST_SECONDS)

    def watch(self, fd: int) -> None:
        """Note somebody who may want something, until the descriptor is closed."""
        self.epoll.register(fd, select.EPOLLIN)

    def claim(self, who: object) -> bool:
        """Whether it is this one that is waited for past the event loop; two would keep each other, and all else."""
        if self._holder is None:
            self._holder = who
        return self._holder is who

    def release(self, who: object) -> None:
        """Let it be another's."""
        if self._holder is who:
            self._holder = None

    def wait_for(self, peer: socket.socket) -> tuple[bool, bool]:
        """Wait a moment for anybody; return whether this one has something, and whether nobody else has."""
        fd = peer.fileno()
        ready = self.epoll.poll(self.moment, MOST_LOOKED_AT)
        if len(ready) == 1:
            return ready[0][0] == fd, True
        here = any(one == fd for one, _ in ready)
        if not here and len(ready) == MOST_LOOKED_AT:  # it may be behind them
            here = _has_something(peer)
        return here, not ready

    def is_wanted(self) -> bool:
        """Whether anybody has something."""
        return bool(self.epoll.poll(0, 1))

    def close(self) -> None:
        """Close it."""
        self.epoll.close()


def _has_something(peer: socket.socket) -> bool:
    try:
        peer.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


class Pace:
    """Whether a client is expected to make its next call within a moment after a reply."""

    __slots__ = ("_calls", "_in_vain", "_moment", "_since", "quick")

    def __init__(self, moment: float) -> None:
        self._moment = moment
        self._since = 0.0
        self._calls = 0
        """Since it was last waited for as long as it takes."""
        self._in_vain = 0
        """So many moments, the last ones, followed a call that was the only one."""
        self.quick = True  # whoever connects has something to say

    def hit(self, calls: int = 1) -> None:
        """Note a call, or several."""
        self._calls += calls

    def miss(self) -> None:
        """Note that a moment was waited in vain."""
        self._in_vain = 0 if self._calls > 1 else self._in_vain + 1
        self.quick = False

    def start(self) -> None:
        """Note that its next call is waited for as long as it takes."""
        self._calls = 0
        self._since = _now()

    def stop(self) -> None:
        """Note that it is here; whoever has often been quick after a pause is expected to be so again."""
        self.quick = self._in_vain < MOST_IN_VAIN or _now() - self._since < self._moment
