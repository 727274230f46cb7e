"""Room in bridges."""

from __future__ import annotations

import pytest
import trio

from lightvm.daemon.net.room import MAX_PORTS, Room
from lightvm.errors import LinkFailed

pytestmark = pytest.mark.usefixtures("threadless")


def make_room(**there: int) -> Room:
    return Room(lambda bridge: there[bridge])


async def test_the_last_port_of_a_bridge_may_be_had() -> None:
    async with make_room(a=MAX_PORTS - 1).hold(["a"]):
        pass


async def test_a_full_bridge_is_named_with_its_limit() -> None:
    with pytest.raises(LinkFailed, match="full: a Linux bridge has at most 1023 ports") as caught:
        async with make_room(a=0, b=MAX_PORTS).hold(["a", "b"]):
            raise AssertionError("nothing is to be made")
    assert caught.value.where == "b"


async def test_two_vifs_in_one_bridge_need_two_ports() -> None:
    room = make_room(a=MAX_PORTS - 1)
    with pytest.raises(LinkFailed):
        async with room.hold(["a", "a"]):
            pass
    async with room.hold(["a"]):
        pass


async def test_what_is_being_made_counts_until_it_is() -> None:
    room = make_room(a=MAX_PORTS - 1)
    async with room.hold(["a"]):
        with pytest.raises(LinkFailed):
            async with room.hold(["a"]):
                pass
    async with room.hold(["a"]):
        pass


async def test_the_first_of_those_who_ask_at_once_has_it() -> None:
    room, made = make_room(a=MAX_PORTS - 1), []

    async def make(number: int) -> None:
        try:
            async with room.hold(["a"]):
                made.append(number)
                await trio.sleep(1)
        except LinkFailed:
            pass

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(make, number)
    assert len(made) == 1


async def test_a_caller_that_is_cancelled_leaves_its_room() -> None:
    room = make_room(a=MAX_PORTS - 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with room.hold(["a"]):
            pass
    async with room.hold(["a"]):
        pass


async def test_without_a_network_nobody_is_asked() -> None:
    async with Room(lambda bridge: 1 // 0).hold([]):
        pass
