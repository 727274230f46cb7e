"""Several clients at once: the engine does for all what it does for one, unless they say anything else."""

from __future__ import annotations

import errno
import json
import socket

import pytest

from lightvm.errors import HypercallError
from lightvm.xen.express import MOST_SERVED, Stage
from lightvm.xen.image import CMDLINE_MAX
from tests.contract.counter import CALL, END, OTHER_CALL, RECORD, REPLY, Counter, Offer
from tests.contract.rig import Rig


def is_unanswered(client: socket.socket) -> bool:
    """Whether nothing was said to a client."""
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return True
    return False


@pytest.mark.smoke
async def test_all_who_ask_for_it_get_theirs(rig: Rig, counter: Counter) -> None:
    handles = [await rig.prepare() for _ in range(3)]
    clients = counter.join(3)
    for client in clients:
        client.send(CALL + b"\0")
    served = counter.serve(*[counter.issue(handle) for handle in handles])
    assert [each.stage for each in served] == [Stage.ANSWERED] * 3
    assert [(each.number, each.ticket, each.unsent) for each in served] == [
        (0, number, b"") for number in range(3)
    ]
    assert {each.client for each in served} == {peer.fileno() for peer in counter.peers}
    moments = [moment for each in served for moment in (each.begun, each.loaded, each.running)]
    assert moments == sorted(moments)
    assert served[0].heard >= served[-1].running
    end = END
    for each, handle in zip(served, handles, strict=True):
        client = clients[[peer.fileno() for peer in counter.peers].index(each.client)]
        reply = json.loads(client.recv(4096))
        record = json.loads(counter.journal[end : end + each.journalled])
        end += each.journalled
        assert record["created"] == reply["created"] <= reply["ready"]
        assert reply["total_us"] == (each.heard - each.begun) // 1000
        assert rig.hypervisor.read_control(handle).ready == 1
    assert not any(counter.journal[end:])


async def test_nobody_else_is_read(rig: Rig, counter: Counter) -> None:
    """Another call, half of one, two at once; one that is not at rest; one that has gone."""
    handle = await rig.prepare()
    another, half, two, gone = counter.join(4)
    another.send(OTHER_CALL + b"\0")
    half.send(CALL)
    two.send(CALL + b"\0" + CALL + b"\0")
    gone.shutdown(socket.SHUT_WR)
    counter.other.send(CALL + b"\0")
    counter.client.send(OTHER_CALL + b"\0")
    counter.resting[counter.peer.fileno()] = 1
    assert not counter.serve(counter.issue(handle))
    assert counter.peer.recv(4096) == OTHER_CALL + b"\0"
    said = [peer.recv(4096) for peer in counter.peers]
    assert said == [OTHER_CALL + b"\0", CALL, CALL + b"\0" + CALL + b"\0", b""]
    found = await rig.listed(handle.domid)
    assert found is not None
    assert found.paused
    assert not any(counter.journal[:])


async def test_each_call_has_its_own_tickets(rig: Rig, counter: Counter) -> None:
    one, other = await rig.prepare(), await rig.prepare()
    offers = [Offer(OTHER_CALL, counter.issue(one).ticket), counter.issue(other)]
    counter.join(3)
    for client in counter.crowd:  # the last finds none left
        client.send(CALL + b"\0")
    counter.crowd[0].close()
    (served,) = counter.serve(*offers)
    assert (served.number, served.ticket) == (1, 0)
    assert rig.hypervisor.read_control(one).ready == 0
    assert rig.hypervisor.read_control(other).ready == 1


async def test_not_more_are_served_at_once_than_can_be(rig: Rig, counter: Counter) -> None:
    offers = [counter.issue(await rig.prepare()) for _ in range(MOST_SERVED + 1)]
    for client in counter.join(MOST_SERVED + 1):
        client.send(CALL + b"\0")
    assert len(counter.serve(*offers)) == MOST_SERVED


async def test_an_image_that_has_changed_is_not_taken(rig: Rig, counter: Counter) -> None:
    offer = counter.issue(await rig.prepare())
    counter.image.write_bytes(b"another kernel")
    (client,) = counter.join(1)
    client.send(CALL + b"\0")
    assert not counter.serve(offer)
    assert counter.peers[0].recv(4096) == CALL + b"\0"


async def test_after_one_that_fails_none_is_begun(rig: Rig, counter: Counter) -> None:
    handles = [await rig.prepare() for _ in range(3)]
    long = "x" * (CMDLINE_MAX + 1)
    offers = [counter.issue(h, cmdline=c) for h, c in zip(handles, ("", long, ""), strict=True)]
    for client in counter.join(3):
        client.send(CALL + b"\0")
    good, bad = counter.serve(*offers)
    assert (good.stage, bad.stage) == (Stage.ANSWERED, Stage.SPOILT)
    assert (good.journalled, bad.journalled) == (len(RECORD), 0)
    assert isinstance(bad.error, HypercallError)
    assert bad.error.errno == errno.E2BIG
    said = {peer.fileno(): is_unanswered(peer) for peer in counter.peers}
    assert said.pop(good.client)
    assert said.pop(bad.client)
    assert not said.popitem()[1]  # its call is still there
    for handle, paused in zip(handles, (False, True, True), strict=True):
        found = await rig.listed(handle.domid)
        assert found is not None
        assert found.paused == paused


async def test_one_that_is_late_keeps_no_other(rig: Rig, counter: Counter) -> None:
    late, quick = await rig.prepare(), await rig.prepare()
    offers = [counter.issue(late, "misbehave", "loop"), counter.issue(quick)]
    for client in counter.join(2):
        client.send(CALL + b"\0")
    first, second = counter.serve(*offers, spin_us=1_000_000)
    assert (first.stage, second.stage) == (Stage.RUNNING, Stage.ANSWERED)  # it had long enough
    clients = {peer.fileno(): end for peer, end in zip(counter.peers, counter.crowd, strict=True)}
    assert is_unanswered(clients[first.client])
    assert not is_unanswered(clients[second.client])
    assert first.journalled == second.journalled == len(RECORD)


async def test_a_reply_that_finds_no_room_is_given_back(rig: Rig, counter: Counter) -> None:
    offer = counter.issue(await rig.prepare())
    (client,) = counter.join(1)
    with pytest.raises(BlockingIOError):
        while True:
            counter.peers[0].send(bytes(4096))
    client.send(CALL + b"\0")
    (served,) = counter.serve(offer)
    assert served.stage is Stage.ANSWERED
    assert list(json.loads(served.unsent)) == list(json.loads(REPLY))
