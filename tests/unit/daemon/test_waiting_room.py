"""Where clients of a crowd wait: whose task is woken, and whose is not."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from lightvm.daemon import waiting_room
from lightvm.daemon.waiting_room import WaitingRoom
from tests.waits import settle

FULL = 2
APART = 99
RESTLESS = 4
"""Something was read of this one."""


class Waiting:
    """Clients that wait, and whoever serves them: each time those in `served`."""

    def __init__(
        self, room: WaitingRoom, sockets: list[tuple[socket.socket, socket.socket]]
    ) -> None:
        self.room = room
        self.ours = [ours for ours, _ in sockets]
        self.peers = [peer for _, peer in sockets]
        self.woken: list[int] = []
        self.crowds = 0
        self.served: set[int] = set()

    async def wait(self, which: int) -> None:
        await self.room.wait(self.peers[which].fileno(), resting=which != RESTLESS)
        self.woken.append(which)

    async def wait_apart(self, peer: socket.socket) -> None:
        assert await self.room.wait_apart(peer)
        self.woken.append(APART)

    def serve_all(self) -> set[int]:
        """Leave what is said unread, as if whoever was answered had said more."""
        self.crowds += 1
        return {self.peers[which].fileno() for which in self.served}


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    monkeypatch.setattr(waiting_room, "MOST_SERVED", FULL)
    pairs = [socket.socketpair() for _ in range(5)]
    room = WaitingRoom()
    yield Waiting(room, pairs)
    room.close()
    for ours, peer in pairs:
        ours.close()
        peer.close()


@pytest.fixture
async def nursery(waiting: Waiting) -> AsyncIterator[trio.Nursery]:
    """Has all of them wait, and somebody at the door."""
    async with trio.open_nursery() as nursery:
        for which in range(len(waiting.peers)):
            nursery.start_soon(waiting.wait, which)
        nursery.start_soon(waiting.room.keep_door, waiting.serve_all)
        await settle()
        yield nursery
        nursery.cancel_scope.cancel()


async def test_who_is_the_only_one_is_woken(waiting: Waiting, nursery: trio.Nursery) -> None:
    waiting.ours[3].send(b"!")
    await settle()
    assert (waiting.woken, waiting.crowds) == ([3], 0)
    waiting.ours[1].close()  # has gone
    await settle()
    assert waiting.woken == [3, 1]


async def test_of_a_crowd_only_those_are_woken_who_were_not_answered(
    waiting: Waiting, nursery: trio.Nursery
) -> None:
    waiting.served = {0}
    for which in (0, 2, 4):
        waiting.ours[which].send(b"!")
    await settle()
    # It was told, but has said more, and then is the only one.
    assert (sorted(waiting.woken[:2]), waiting.woken[2:]) == ([2, 4], [0])
    assert waiting.crowds == 1


async def test_whoever_is_never_of_a_full_crowd_is_woken_in_the_end(
    waiting: Waiting, nursery: trio.Nursery
) -> None:
    waiting.served = {0, 1}
    for each in waiting.ours:
        each.send(b"!")
    while not waiting.woken:
        await trio.lowlevel.checkpoint()
    assert (
        1 + 3 // FULL < waiting.crowds <= 3 + 3 // FULL
    )  # one more may come before their tasks do
    await trio.lowlevel.checkpoint()
    assert sorted(waiting.woken) == [2, 3, 4]


@pytest.mark.parametrize("by", ["call", "end"])
async def test_one_waits_apart_and_nobody_is_served_for_him(
    waiting: Waiting, nursery: trio.Nursery, by: str
) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        nursery.start_soon(waiting.wait_apart, peer)
        await settle()
        assert waiting.woken == []
        assert not await waiting.room.wait_apart(ours)
        if by == "call":
            waiting.ours[1].send(b"!")
            ours.send(b"!")
        else:
            waiting.room.empty()
        await settle()
    assert APART in waiting.woken
    assert waiting.crowds == 0
    peer, ours = socket.socketpair()
    with ours, peer:
        ours.send(b"!")
        assert await waiting.room.wait_apart(peer)


async def test_who_is_woken_or_cancelled_has_left(waiting: Waiting, nursery: trio.Nursery) -> None:
    room, fd = waiting.room, waiting.peers[0].fileno()
    assert [room.resting[peer.fileno()] for peer in waiting.peers] == [1, 1, 1, 1, 0]
    assert room.wake(fd)
    assert not room.wake(fd)
    assert not room.resting[fd]
    room.empty()
    await settle()
    assert sorted(waiting.woken) == [0, 1, 2, 3, 4]
    with trio.move_on_after(1) as scope:
        await room.wait(fd, resting=True)
    assert scope.cancelled_caught
    assert not room.wake(fd)
    assert not room.resting[fd]
    waiting.ours[0].send(b"!")
    await settle()  # nobody is there to be woken for it
    await room.wait(fd, resting=True)
