"""Where clients wait for what they say next, so that the event loop wakes no task of theirs in vain.

One task of the loop waits for all of them. One who calls alone is woken. Where several have called, the engine answers
at once whatever there are tickets for, and of those clients no task has anything to do.

One client waits apart, with nobody in between, which saves him a pass through the loop.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

import trio

from lightvm.xen.express import MOST_SERVED

PASSES_FOR_OTHERS = 4
"""So often others have their turn after a crowd, as long as somebody can go on: who is late takes several passes."""

MOST_RESTING = 65536
"""Descriptors below this can be at rest; whoever has another is served, too, but by himself."""


def could_go_on() -> bool:
    """Whether any task waits for nothing but its turn, or something has come in from a thread."""
    now = trio.lowlevel.current_statistics()
    return bool(now.tasks_runnable or now.run_sync_soon_queue_size)


async def let_others() -> None:
    """Let others have their turn, as long as any can go on."""
    for _ in range(PASSES_FOR_OTHERS):
        if not could_go_on():
            break
        await trio.lowlevel.checkpoint()


class WaitingRoom:
    """Clients that wait, each with a task, by descriptor."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        """Watches all that wait."""
        self.resting = bytearray(MOST_RESTING)
        """By descriptor: 1 for a client that is here, and of whom nothing was read that is not answered."""
        self._tasks: dict[int, trio.lowlevel.Task] = {}
        self._apart: socket.socket | None = None
        self._passed_over: dict[int, int] = {}
        """How many crowds in a row, the last ones, were full without a client that had called."""

    def close(self) -> None:
        """Close it."""
        self.epoll.close()

    def __contains__(self, fd: int) -> bool:
        return fd in self._tasks

    async def wait(self, fd: int, *, resting: bool) -> None:
        """Wait until the client has said what its own task has to hear, or `wake` is called. Cancelled: it has left.

        Only while it is `resting`, with nothing read of it that is not answered, may `serve_all` read what it says.
        """

        def leave(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._leave(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        self._tasks[fd] = trio.lowlevel.current_task()
        if fd < MOST_RESTING:
            self.resting[fd] = resting
        self.epoll.register(fd, select.EPOLLIN)
        await trio.lowlevel.wait_task_rescheduled(leave)

    async def wait_apart(self, peer: socket.socket) -> bool:
        """Wait until the client has called, or all are woken; return False at once where another waits apart."""
        if self._apart is not None:
            return False
        self._apart = peer
        try:
            await trio.lowlevel.wait_readable(peer)
        except trio.ClosedResourceError:
            pass
        finally:
            self._apart = None
        return True

    def wake(self, fd: int) -> bool:
        """Wake a client's task; return whether it was here."""
        if fd not in self:
            return False
        trio.lowlevel.reschedule(self._leave(fd))
        return True

    def empty(self) -> None:
        """Wake the tasks of all."""
        for fd in list(self._tasks):
            self.wake(fd)
        if self._apart is not None:
            trio.lowlevel.notify_closing(self._apart)  # it is not; but its task is to wake up

    def _leave(self, fd: int) -> trio.lowlevel.Task:
        self.epoll.unregister(fd)
        if fd < MOST_RESTING:
            self.resting[fd] = False
        return self._tasks.pop(fd)

    async def keep_door(self, serve_all: Callable[[], set[int]]) -> None:
        """Have what is said here answered, for ever: by `serve_all`, which returns for whom, or by their own tasks."""
        while True:
            await trio.lowlevel.wait_readable(self.epoll)
            here = [fd for fd, _ in self.epoll.poll(0)]
            served = serve_all() if len(here) > 1 else set()
            self._call_in([fd for fd in here if fd not in served], full=len(served) == MOST_SERVED)
            if served:
                await let_others()

    def _call_in(self, left: list[int], *, full: bool) -> None:
        """Wake who was left over, but where the crowd was full not before there was room for all of them in others."""
        before, self._passed_over = self._passed_over, {}
        for fd in left:
            crowds = before.get(fd, 0) + 1
            if full and crowds <= 1 + len(left) // MOST_SERVED:
                self._passed_over[fd] = crowds
            else:
                self.wake(fd)
