"""Guests that misbehave, and what a caller of the seam sees of it."""

from __future__ import annotations

import os

import pytest

from lightvm.errors import HypercallError
from lightvm.xen.domain_info import Watched
from tests.contract.rig import Rig, eventually

NONSENSE = 0xDEADBEEF


@pytest.mark.parametrize("word", ["crash", "triple-fault"])
async def test_a_crash_is_found_with_its_code(rig: Rig, word: str) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("misbehave", word, uuid=uuid)
    info = await rig.wait_ended(handle, uuid)
    assert (info.domid, info.uuid) == (handle.domid, uuid)
    assert info.shutdown
    assert info.shutdown_code == 3
    assert rig.hypervisor.read_control(handle).exiting == 0


async def test_a_shutdown_without_a_word_is_found(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("misbehave", "ready shutdown", uuid=uuid)
    info = await rig.wait_ended(handle, uuid)
    assert info.shutdown
    assert info.shutdown_code == 0
    control = rig.hypervisor.read_control(handle)
    assert (control.ready, control.exiting) == (1, 0)


async def test_a_looping_guest_runs_until_it_is_paused(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("misbehave", "ready loop", uuid=uuid)
    await rig.wait_ready(handle)
    assert await rig.hypervisor.find_changed([Watched(handle.domid, uuid)]) == []
    info = await rig.listed(handle.domid)
    assert info is not None
    assert not info.paused
    rig.hypervisor.pause(handle)
    info = await rig.listed(handle.domid)
    assert info is not None
    assert info.paused
    (changed,) = await rig.hypervisor.find_changed([Watched(handle.domid, uuid)])
    assert (changed.domid, changed.paused, changed.dying) == (handle.domid, True, False)
    assert await rig.hypervisor.find_changed([Watched(handle.domid, uuid, paused=True)]) == []
    rig.hypervisor.unpause(handle)
    info = await rig.listed(handle.domid)
    assert info is not None
    assert not info.paused
    (changed,) = await rig.hypervisor.find_changed([Watched(handle.domid, uuid, paused=True)])
    assert not changed.paused


async def test_a_flood_comes_in_pieces_of_2048_bytes_at_most(rig: Rig) -> None:
    handle = await rig.boot("misbehave", "flood")
    pieces: list[bytes] = []

    async def look() -> int:
        pieces.append(rig.hypervisor.take_console(handle))
        return sum(map(len, pieces))

    await eventually(look, lambda total: total > 12 * 1024)
    assert max(map(len, pieces)) <= 2048
    assert b"flood" in b"".join(pieces)


async def test_a_corrupt_console_ring_is_an_error_once(rig: Rig) -> None:
    handle = await rig.boot("misbehave", "ready ring")
    bystander = await rig.boot("misbehave", "ready loop")

    async def look() -> HypercallError | None:
        assert rig.hypervisor.take_console(bystander) == b""
        try:
            assert rig.hypervisor.take_console(handle) == b""
        except HypercallError as exc:
            return exc
        return None

    error = await eventually(look, bool)
    assert error is not None
    assert error.where == "console ring"
    assert rig.hypervisor.take_console(handle) == b""
    assert rig.hypervisor.read_control(handle).ready == 1


async def test_nonsense_in_the_control_page_is_returned_as_it_is(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.prepare(uuid=uuid)
    rig.hypervisor.load(handle, rig.describe("misbehave", "control"))
    await rig.settle_events()
    rig.hypervisor.unpause(handle)
    await rig.wait_event(handle.control_event)
    control = rig.hypervisor.read_control(handle)
    assert control.ready == NONSENSE
    assert control.exiting == NONSENSE
    assert control.exit_reason == NONSENSE
    assert control.exit_status == NONSENSE
    assert await rig.hypervisor.find_changed([Watched(handle.domid, uuid)]) == []


async def test_the_device_page_cannot_be_written(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("misbehave", "device-page", uuid=uuid)
    await rig.wait_ended(handle, uuid)
    control = rig.hypervisor.read_control(handle)
    assert (control.exiting, control.exit_status) == (1, 0)


async def test_a_domain_that_was_destroyed_is_gone(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("noop", uuid=uuid)
    await rig.destroy(handle)

    async def look() -> bool:
        ended = await rig.hypervisor.find_changed([Watched(handle.domid, uuid)])
        return [info.gone for info in ended] == [True]

    await eventually(look, bool)


async def test_a_domid_with_another_uuid_is_gone(rig: Rig) -> None:
    handle = await rig.boot("noop")
    uuid = os.urandom(16)
    ended = await rig.hypervisor.find_changed([Watched(handle.domid, uuid)])
    assert [(info.domid, info.uuid, info.gone) for info in ended] == [(handle.domid, uuid, True)]


async def test_only_those_that_ended_are_found(rig: Rig) -> None:
    uuids = [os.urandom(16) for _ in range(4)]
    guests = [("noop", ""), ("misbehave", "crash"), ("misbehave", "loop"), ("hello", "")]
    handles = [await rig.boot(*guest, uuid=uuid) for guest, uuid in zip(guests, uuids, strict=True)]
    watched = sorted(
        Watched(handle.domid, uuid) for handle, uuid in zip(handles, uuids, strict=True)
    )

    async def look() -> list[int]:
        return [info.domid for info in await rig.hypervisor.find_changed(watched)]

    expected = sorted([handles[1].domid, handles[3].domid])
    assert await eventually(look, lambda found: len(found) == 2) == expected


async def test_nobody_watched_is_nobody_found(rig: Rig) -> None:
    await rig.boot("misbehave", "crash")
    assert await rig.hypervisor.find_changed([]) == []
