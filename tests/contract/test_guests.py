"""Guests that behave: they run, say that they are ready, print, and end."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
import trio

from lightvm.errors import HypercallError
from lightvm.xen.hypervisor import Boot, Shape
from lightvm.xen.image import CMDLINE_MAX, MODULES_MAX, place_modules
from tests.contract.rig import SMALL, Rig, eventually
from tests.elf import make_kernel

GREETING = b"Hello from a LightVM guest.\n"


@pytest.mark.smoke
async def test_a_guest_becomes_ready_and_says_so_with_an_event(rig: Rig) -> None:
    handle = await rig.prepare()
    rig.hypervisor.load(handle, rig.describe("noop"))
    await rig.settle_events()
    assert rig.hypervisor.read_control(handle).ready == 0
    rig.hypervisor.unpause(handle)
    await rig.wait_event(handle.control_event)
    assert rig.hypervisor.read_control(handle).ready == 1
    assert rig.hypervisor.read_control(handle).exiting == 0


@pytest.mark.smoke
async def test_spinning_sees_a_guest_become_ready(rig: Rig) -> None:
    handle = await rig.boot("noop")

    async def spin() -> bool:
        return rig.hypervisor.spin_control(handle, 1000)

    assert await eventually(spin, bool)


@pytest.mark.smoke
async def test_a_watched_guest_is_ready_without_an_event(rig: Rig) -> None:
    handle = await rig.prepare()
    moments = [time.perf_counter_ns()]
    moments.append(rig.hypervisor.load(handle, rig.describe("noop"), watched=True))
    await rig.settle_events()
    moments += rig.hypervisor.unpause(handle)
    moments.append(rig.hypervisor.spin_control(handle, 2_000_000))
    moments.append(time.perf_counter_ns())
    assert moments == sorted(moments)
    assert rig.hypervisor.read_control(handle).ready == 1
    with trio.move_on_after(0.3):
        await rig.wait_event(handle.control_event)
        pytest.fail("an event that nobody needs")


async def test_a_guest_that_is_watched_in_vain_comes_with_an_event(rig: Rig) -> None:
    handle = await rig.prepare()
    rig.hypervisor.load(handle, rig.describe("noop"), watched=True)
    await rig.settle_events()
    assert not rig.hypervisor.spin_control(handle, 1000)
    rig.hypervisor.unpause(handle)
    await rig.wait_event(handle.control_event)
    assert rig.hypervisor.read_control(handle).ready == 1


async def test_spinning_ends_for_a_guest_that_says_nothing(rig: Rig) -> None:
    handle = await rig.prepare()
    assert not rig.hypervisor.spin_control(handle, 1000)


@pytest.mark.smoke
async def test_hello_prints_its_command_line_and_exits(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("hello", "one two", uuid=uuid)
    text = await rig.read_console(handle, lambda text: text.count(b"\n") >= 2)
    assert text == GREETING + b"Command line: one two\n"
    info = await rig.wait_ended(handle, uuid)
    assert info.shutdown
    assert info.shutdown_code == 0
    assert not info.gone
    control = rig.hypervisor.read_control(handle)
    assert (control.exiting, control.exit_reason, control.exit_status) == (1, 0, 0)


async def test_hello_without_a_command_line_prints_none(rig: Rig) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("hello", uuid=uuid)
    await rig.wait_ended(handle, uuid)
    assert await rig.read_console(handle, bool) == GREETING


@pytest.mark.parametrize(
    ("word", "status"),
    [("status=7", 7), ("status=-3", 2**32 - 3), ("status=", 0), ("status=5x", 5)],
)
async def test_an_exit_status_arrives_as_the_guest_wrote_it(
    rig: Rig, word: str, status: int
) -> None:
    uuid = os.urandom(16)
    handle = await rig.boot("hello", f"quiet {word}", uuid=uuid)
    await rig.wait_ended(handle, uuid)
    assert rig.hypervisor.read_control(handle).exit_status == status


async def test_the_longest_command_line_arrives_whole(rig: Rig) -> None:
    uuid = os.urandom(16)
    cmdline = "x" * (CMDLINE_MAX - len(" status=9")) + " status=9"
    handle = await rig.boot("hello", cmdline, uuid=uuid)
    text = await rig.read_console(handle, lambda text: text.count(b"\n") >= 2)
    assert text == GREETING + b"Command line: " + cmdline.encode() + b"\n"
    await rig.wait_ended(handle, uuid)
    assert rig.hypervisor.read_control(handle).exit_status == 9


async def test_a_longer_command_line_is_refused(rig: Rig) -> None:
    handle = await rig.prepare()
    with pytest.raises(HypercallError):
        rig.hypervisor.load(handle, rig.describe("hello", "x" * (CMDLINE_MAX + 1)))


async def test_the_smallest_guest_runs(rig: Rig) -> None:
    handle = await rig.prepare(Shape.of(1024, 1))
    rig.hypervisor.load(handle, rig.describe("noop"))
    rig.hypervisor.unpause(handle)
    await rig.wait_ready(handle)


async def test_a_guest_with_two_vcpus_runs(rig: Rig) -> None:
    handle = await rig.prepare(Shape.of(4096, 2))
    rig.hypervisor.load(handle, rig.describe("noop"))
    rig.hypervisor.unpause(handle)
    await rig.wait_ready(handle)


@pytest.mark.parametrize("wide", [False, True], ids=["elf32", "elf64"])
async def test_an_image_larger_than_the_window_is_loaded_whole(rig: Rig, wide: bool) -> None:
    handle = await rig.prepare(replace(SMALL, window_kib=64))
    image = rig.image(make_kernel(size=2 << 20, wide=wide))
    rig.hypervisor.load(handle, Boot(image=image))
    rig.hypervisor.unpause(handle)
    await rig.wait_ready(handle)


async def test_an_image_up_to_the_last_byte_of_ram_is_loaded(rig: Rig) -> None:
    handle = await rig.prepare()
    image = rig.image(make_kernel(size=SMALL.memory_kib * 1024 - 0x10000))
    rig.hypervisor.load(handle, Boot(image=image))
    rig.hypervisor.unpause(handle)
    await rig.wait_ready(handle)


async def test_modules_do_not_keep_a_guest_from_running(rig: Rig) -> None:
    handle = await rig.prepare()
    image = rig.describe("noop").image
    contents = tuple((f"/m{n}", bytes([n]) * (n * 5000 + 1)) for n in range(MODULES_MAX))
    modules = place_modules(image, contents, SMALL.memory_kib * 1024)
    rig.hypervisor.load(handle, Boot(image=image, modules=modules))
    rig.hypervisor.unpause(handle)
    await rig.wait_ready(handle)


async def test_a_guest_that_was_paused_before_it_ran_says_nothing_until_unpaused(rig: Rig) -> None:
    handle = await rig.prepare()
    rig.hypervisor.load(handle, rig.describe("noop"))
    await rig.hypervisor.close_window(handle)
    assert rig.hypervisor.read_control(handle).ready == 0
    rig.hypervisor.unpause(handle)
    await rig.wait_ready(handle)


async def test_a_guest_that_was_asked_for_what_it_does_not_know_goes_on_sleeping(rig: Rig) -> None:
    handle = await rig.boot("noop")
    await rig.wait_event(handle.control_event)
    rig.hypervisor.request_power(handle, 7)
    await trio.sleep(0.5)
    awake = rig.hypervisor.read_control(handle).heartbeat
    await trio.sleep(0.5)
    assert rig.hypervisor.read_control(handle).heartbeat == awake
    assert rig.hypervisor.read_control(handle).exiting == 0
