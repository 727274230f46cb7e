"""Creates that are ready but for somebody who asks: the engine waits for the call, and does the rest."""

from __future__ import annotations

import errno
import json
import os
import socket
import time

import pytest

from lightvm.errors import HypercallError
from lightvm.xen.express import Series, Stage
from lightvm.xen.image import CMDLINE_MAX
from tests.contract.counter import CALL, END, OTHER_CALL, RECORD, REPLY, Counter, Offer
from tests.contract.rig import Rig


@pytest.mark.smoke
async def test_who_asks_for_what_is_on_offer_gets_it(rig: Rig, counter: Counter) -> None:
    handle = await rig.prepare()
    counter.client.send(CALL + b"\0")
    before = time.time()
    attended = counter.attend(counter.issue(handle))
    assert (attended.stage, attended.number, attended.unsent) == (Stage.ANSWERED, 0, b"")
    assert attended.data is None
    moments = [attended.begun, attended.loaded, attended.asked, attended.running, attended.heard]
    assert moments == sorted(moments)
    reply = json.loads(counter.client.recv(4096))
    assert list(reply) == list(json.loads(REPLY))
    assert reply["of"] == '"created":1111111111.111111'
    assert before - 1 < reply["created"] <= reply["ready"] < time.time() + 1
    assert reply["load_us"] == (attended.loaded - attended.begun) // 1000
    assert reply["journal_us"] == (attended.asked - attended.loaded) // 1000
    assert reply["unpause_us"] == (attended.running - attended.asked) // 1000
    assert reply["ready_us"] == (attended.heard - attended.running) // 1000
    assert reply["total_us"] == (attended.heard - attended.begun) // 1000
    assert attended.journalled == len(RECORD)
    record = json.loads(counter.journal[END : END + attended.journalled])
    assert record["created"] == reply["created"]
    assert rig.hypervisor.read_control(handle).ready == 1
    found = await rig.listed(handle.domid)
    assert found is not None
    assert not found.paused


@pytest.mark.parametrize(
    "said",
    [
        OTHER_CALL + b"\0",
        CALL,
        CALL[:-1] + b"\0",
        CALL + b"\0" + CALL + b"\0",
        CALL + b" \0",
        b"\0",
    ],
    ids=["another", "half", "shorter", "two", "longer", "nothing"],
)
async def test_who_says_anything_else_is_only_heard(
    rig: Rig, counter: Counter, said: bytes
) -> None:
    handle = await rig.prepare()
    counter.client.send(said)
    attended = counter.attend(counter.issue(handle))
    assert (attended.stage, attended.data) == (Stage.SAID, said)
    found = await rig.listed(handle.domid)
    assert found is not None
    assert found.paused
    assert not any(counter.journal[:])


async def test_of_several_offers_the_one_that_is_asked_for_is_taken(
    rig: Rig, counter: Counter
) -> None:
    one, other = await rig.prepare(), await rig.prepare()
    offers = [Offer(OTHER_CALL, counter.issue(one).ticket), counter.issue(other)]
    counter.client.send(CALL + b"\0")
    attended = counter.attend(*offers)
    assert (attended.stage, attended.number) == (Stage.ANSWERED, 1)
    assert rig.hypervisor.read_control(one).ready == 0
    assert rig.hypervisor.read_control(other).ready == 1


async def test_nobody_and_others_are_told_apart(rig: Rig, counter: Counter) -> None:
    offer = counter.issue(await rig.prepare())
    attended = counter.attend(offer)
    assert (attended.stage, attended.alone, attended.data) == (Stage.NOBODY, True, None)
    counter.other.send(b"call")
    attended = counter.attend(offer)
    assert (attended.stage, attended.alone, attended.data) == (Stage.OTHERS, False, None)


async def test_of_others_no_more_than_two_lose_their_place(rig: Rig, counter: Counter) -> None:
    offer = counter.issue(await rig.prepare())
    for one in counter.join(6):
        one.send(b"call")
    assert counter.attend(offer).stage is Stage.OTHERS
    first, second, *rest = (peer.fileno() for peer in counter.peers)
    assert [fd for fd, _ in counter.epoll.poll(0)] == [*rest, first, second]


async def test_who_is_behind_others_is_heard(rig: Rig, counter: Counter) -> None:
    """Else several who are looked for in turn may each find the others for ever."""
    for one in counter.join(3):
        one.send(b"call")
    counter.client.send(CALL + b"\0")
    attended = counter.attend(counter.issue(await rig.prepare()))
    assert (attended.stage, attended.alone) == (Stage.ANSWERED, False)


@pytest.mark.parametrize("alone", [True, False])
async def test_who_is_here_is_served_whoever_else_is(
    rig: Rig, counter: Counter, alone: bool
) -> None:
    offer = counter.issue(await rig.prepare())
    if not alone:
        counter.other.send(b"call")
    for said, stage in ((OTHER_CALL, Stage.SAID), (CALL, Stage.ANSWERED)):
        counter.client.send(said + b"\0")
        attended = counter.attend(offer)
        assert (attended.stage, attended.alone) == (stage, alone)


async def test_who_has_gone_says_nothing(rig: Rig, counter: Counter) -> None:
    offer = counter.issue(await rig.prepare())
    counter.client.shutdown(socket.SHUT_WR)
    attended = counter.attend(offer)
    assert (attended.stage, attended.data) == (Stage.SAID, b"")


async def test_who_has_gone_without_having_read_says_nothing(rig: Rig, counter: Counter) -> None:
    offer = counter.issue(await rig.prepare())
    counter.peer.send(b"a reply")
    counter.client.close()
    attended = counter.attend(offer)
    assert (attended.stage, attended.data) == (Stage.SAID, b"")


@pytest.mark.parametrize("change", ["content", "time", "gone"])
async def test_an_image_that_has_changed_is_not_taken(
    rig: Rig, counter: Counter, change: str
) -> None:
    offer = counter.issue(await rig.prepare())
    if change == "content":
        counter.image.write_bytes(b"another kernel")
    elif change == "time":
        os.utime(counter.image, (1, 1))
    else:
        counter.image.unlink()
    counter.client.send(CALL + b"\0")
    assert counter.attend(offer).stage is Stage.SAID


async def test_a_guest_that_is_not_quick_comes_with_an_event(rig: Rig, counter: Counter) -> None:
    handle = await rig.prepare()
    offer = counter.issue(handle, "misbehave", "loop")
    await rig.settle_events()
    counter.client.send(CALL + b"\0")
    attended = counter.attend(offer, spin_us=1000)
    assert attended.stage is Stage.RUNNING
    assert attended.journalled == len(RECORD)
    counter.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        counter.client.recv(1)


async def test_a_guest_that_says_nonsense_is_not_called_ready(rig: Rig, counter: Counter) -> None:
    handle = await rig.prepare()
    counter.client.send(CALL + b"\0")
    attended = counter.attend(counter.issue(handle, "misbehave", "control"))
    assert attended.stage is Stage.RUNNING


async def test_a_shell_that_cannot_be_loaded_is_spoilt(rig: Rig, counter: Counter) -> None:
    handle = await rig.prepare()
    counter.client.send(CALL + b"\0")
    attended = counter.attend(counter.issue(handle, "noop", "x" * (CMDLINE_MAX + 1)))
    assert (attended.stage, attended.journalled) == (Stage.SPOILT, 0)
    assert isinstance(attended.error, HypercallError)
    assert attended.error.errno == errno.E2BIG
    assert attended.data == CALL + b"\0"
    found = await rig.listed(handle.domid)
    assert found is not None
    assert found.paused


async def test_a_reply_that_finds_no_room_is_given_back(rig: Rig, counter: Counter) -> None:
    offer = counter.issue(await rig.prepare())
    with pytest.raises(BlockingIOError):
        while True:
            counter.peer.send(bytes(4096))
    counter.client.send(CALL + b"\0")
    attended = counter.attend(offer)
    assert attended.stage is Stage.ANSWERED
    assert list(json.loads(attended.unsent)) == list(json.loads(REPLY))


async def test_who_does_not_wait_for_the_reply_has_a_domain_all_the_same(
    rig: Rig, counter: Counter
) -> None:
    handle = await rig.prepare()
    offer = counter.issue(handle)
    counter.client.send(CALL + b"\0")
    counter.client.close()
    attended = counter.attend(offer)
    assert (attended.stage, attended.unsent) == (Stage.ANSWERED, b"")
    assert rig.hypervisor.read_control(handle).ready == 1


@pytest.mark.smoke
async def test_who_is_answered_is_waited_for_again(rig: Rig, counter: Counter) -> None:
    handles = [await rig.prepare() for _ in range(2)]
    tickets = [counter.issue(handle).ticket for handle in handles]
    desk = counter.open_desk([Series(CALL, tickets), Series(OTHER_CALL, tickets)])
    counter.client.send(CALL + b"\0")
    first = rig.hypervisor.attend(desk)
    counter.client.send(OTHER_CALL + b"\0")
    answer = rig.hypervisor.answer(desk, first, (counter.journal, END + first.journalled))
    second = answer.next
    assert second is not None
    assert (first.number, first.ticket) == (0, 0)
    assert (second.number, second.ticket, second.stage) == (1, 1, Stage.RUNNING)
    assert answer.ready
    assert answer.heard <= second.begun
    last = rig.hypervisor.answer(desk, second, (counter.journal, END))
    assert (last.ready, last.next) == (True, None)  # there is no other ticket
    replies = counter.client.recv(4096)
    assert len(replies) == 2 * len(REPLY)
    records = counter.journal[END : END + 2 * len(RECORD)]
    created = [json.loads(replies[at * len(REPLY) :][: len(REPLY)])["created"] for at in (0, 1)]
    assert created == [
        json.loads(records[at * len(RECORD) :][: len(RECORD)])["created"] for at in (0, 1)
    ]
    for handle in handles:
        assert rig.hypervisor.read_control(handle).ready == 1


@pytest.mark.smoke
async def test_a_line_may_be_extended_while_a_guest_boots(rig: Rig, counter: Counter) -> None:
    handles = [await rig.prepare() for _ in range(3)]
    first, *more = [counter.issue(handle).ticket for handle in handles]
    line = [first]
    desk = counter.open_desk([Series(CALL, line), Series(OTHER_CALL, line)], most=len(handles))
    counter.client.send(CALL + b"\0")
    attended = rig.hypervisor.attend(desk)
    end = END
    for number, ticket in enumerate(more, 1):
        rig.hypervisor.extend(desk, 0, ticket)
        counter.client.send(OTHER_CALL + b"\0")
        end += attended.journalled
        following = rig.hypervisor.answer(desk, attended, (counter.journal, end)).next
        assert following is not None
        assert (following.number, following.ticket) == (1, number)
        assert following.stage is Stage.RUNNING
        attended = following
    last = rig.hypervisor.answer(desk, attended, (counter.journal, end))
    assert (last.ready, last.next) == (True, None)
    assert len(counter.client.recv(4096)) == len(handles) * len(REPLY)
    for handle in handles:
        assert rig.hypervisor.read_control(handle).ready == 1


@pytest.mark.parametrize("why", ["no room", "others", "late"])
async def test_who_may_not_be_waited_for_is_only_answered(
    rig: Rig, counter: Counter, why: str
) -> None:
    guest = ("misbehave", "loop") if why == "late" else ("noop", "")
    offers = [counter.issue(await rig.prepare(), *guest) for _ in range(2)]
    await rig.settle_events()
    desk = counter.open_desk([Series(CALL, [each.ticket for each in offers])], spin_us=100_000)
    if why == "others":
        counter.other.send(b"call")
    counter.client.send(CALL + b"\0")
    first = rig.hypervisor.attend(desk)
    counter.client.send(CALL + b"\0")
    room = None if why == "no room" else (counter.journal, END + first.journalled)
    assert rig.hypervisor.answer(desk, first, room).next is None
    assert counter.peer.recv(4096) == CALL + b"\0"


@pytest.mark.parametrize("said", [None, OTHER_CALL + b"\0", b""], ids=["no", "other", "gone"])
async def test_what_else_is_said_then_is_only_heard(
    rig: Rig, counter: Counter, said: bytes | None
) -> None:
    tickets = [counter.issue(await rig.prepare()).ticket for _ in range(2)]
    await rig.settle_events()
    desk = counter.open_desk([Series(CALL, tickets)])
    counter.client.send(CALL + b"\0")
    first = rig.hypervisor.attend(desk)
    if said:
        counter.client.send(said)
    elif said is not None:
        counter.client.shutdown(socket.SHUT_WR)
    answer = rig.hypervisor.answer(desk, first, (counter.journal, END + first.journalled))
    assert answer.next is not None
    assert answer.next.data == said
    assert answer.next.stage is (Stage.NOBODY if said is None else Stage.SAID)


@pytest.mark.smoke
@pytest.mark.parametrize("number", [3, 9])  # of many, the last is heard through its event
async def test_several_are_carried_out_together(rig: Rig, counter: Counter, number: int) -> None:
    handles = [await rig.prepare() for _ in range(number)]
    carried = counter.carry_out(*[counter.issue(handle) for handle in handles])
    assert [each.stage for each in carried] == [Stage.ANSWERED] * number
    moments = [moment for each in carried for moment in (each.begun, each.loaded, each.running)]
    assert moments == sorted(moments)
    assert carried[0].heard >= carried[-1].running
    end = END
    for each, told, handle in zip(carried, counter.told, handles, strict=True):
        assert each.journalled == len(RECORD)
        record = json.loads(counter.journal[end : end + each.journalled])
        end += each.journalled
        reply = json.loads(told)
        assert record["created"] == reply["created"] <= reply["ready"]
        assert reply["total_us"] == (each.heard - each.begun) // 1000
        assert rig.hypervisor.read_control(handle).ready == 1
    assert not any(counter.journal[end:])


async def test_several_end_with_the_first_that_fails(rig: Rig, counter: Counter) -> None:
    handles = [await rig.prepare() for _ in range(3)]
    long = "x" * (CMDLINE_MAX + 1)
    offers = [counter.issue(h, cmdline=c) for h, c in zip(handles, ("", long, ""), strict=True)]
    good, bad = counter.carry_out(*offers)
    assert (good.stage, bad.stage) == (Stage.ANSWERED, Stage.SPOILT)
    assert (good.journalled, bad.journalled, counter.told) == (len(RECORD), 0, [])
    assert isinstance(bad.error, HypercallError)
    assert bad.error.errno == errno.E2BIG
    for handle, paused in zip(handles, (False, True, True), strict=True):
        found = await rig.listed(handle.domid)
        assert found is not None
        assert found.paused == paused


async def test_one_of_several_that_is_late_is_only_running(rig: Rig, counter: Counter) -> None:
    late, quick = await rig.prepare(), await rig.prepare()
    offers = [counter.issue(late, "misbehave", "loop"), counter.issue(quick)]
    first, second = counter.carry_out(*offers, spin_us=200_000)
    assert first.stage is Stage.RUNNING
    assert second.stage in (Stage.RUNNING, Stage.ANSWERED)
    assert not counter.told
    assert first.journalled == second.journalled == len(RECORD)


async def test_none_of_several_is_begun_with_an_image_that_has_changed(
    rig: Rig, counter: Counter
) -> None:
    handle = await rig.prepare()
    offer = counter.issue(handle)
    counter.image.write_bytes(b"another kernel")
    assert counter.carry_out(offer) == []
    assert counter.carry_out() == []
    found = await rig.listed(handle.domid)
    assert found is not None
    assert found.paused
