"""Consoles as clients read them: from the first byte, beyond the end of the domain."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from lightvm.client import Client, open_client
from lightvm.model import WaitFor
from lightvm.testing import InMemory, default_config, serve_in_memory
from tests.unit.daemon.raw import call, open_raw
from tests.unit.daemon.samples import with_limits
from tests.waits import settle

TEXT = b"Hello from a LightVM guest.\nCommand line: a\n"


async def test_the_console_is_there_from_the_first_byte(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="job", cmdline="a")
    await client.wait("job")
    await settle()
    chunk = await client.console_read("job")
    assert (chunk.data, chunk.offset, chunk.next) == (TEXT, 0, len(TEXT))
    assert (chunk.lost, chunk.ended) == (0, True)


async def test_a_console_is_read_from_an_offset(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.hello, name="job", cmdline="a")
    await client.wait("job")
    assert (await client.console_read("job", 6)).data == TEXT[6:]
    beyond = await client.console_read("job", 1000)
    assert (beyond.data, beyond.offset, beyond.lost) == (b"", len(TEXT), 0)


async def test_a_running_domain_s_console_has_not_ended(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web")
    chunk = await client.console_read("web")
    assert (chunk.data, chunk.ended) == (b"", False)


async def test_following_shows_what_comes_until_the_end(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    domid = created.domain.domid
    text = b""
    async with trio.open_nursery() as nursery:

        async def speak() -> None:
            for word in (b"one ", b"two ", b"three"):
                await trio.sleep(1)
                lvm.hypervisor.say(domid, word)
            await trio.sleep(1)
            lvm.hypervisor.crash(domid)

        nursery.start_soon(speak)
        async with client.follow_console("web") as chunks:
            async for chunk in chunks:
                assert chunk.offset == len(text)
                text += chunk.data
                assert chunk.next == len(text)
        assert chunk.ended
    assert text == b"one two three"


async def test_one_who_follows_is_told_at_once(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    async with client.follow_console("web") as chunks:
        assert (await anext(chunks)).data == b""
        lvm.hypervisor.say(created.domain.domid, b"hello")
        begun = trio.current_time()
        assert (await anext(chunks)).data == b"hello"
        assert trio.current_time() == begun


async def test_what_a_guest_says_last_is_not_lost(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    await settle()
    domid = created.domain.domid
    lvm.hypervisor.domains[domid].console += b"panic"  # without an event
    lvm.hypervisor.crash(domid)
    await client.wait("web")
    await settle()
    assert (await client.console_read("web")).data == b"panic"


async def test_the_last_words_of_a_destroyed_domain_reach_who_follows(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await client.create(lvm.noop, name="web")
    async with client.follow_console("web") as chunks:
        await anext(chunks)
        monkeypatch.setattr(lvm.hypervisor, "_signal", lambda domain, *, console: None)
        lvm.hypervisor.say(created.domain.domid, b"last words")
        await client.destroy("web")
        heard = [chunk.data async for chunk in chunks]
    assert b"".join(heard) == b"last words"


async def test_a_destroyed_domain_ends_those_who_follow(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="web")
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            async with client.follow_console("web") as chunks:
                async for _ in chunks:
                    pass

        nursery.start_soon(follow)
        await settle(1)
        await client.destroy("web")


async def test_bytes_over_the_bound_are_lost_and_counted(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    for number in range(100):
        lvm.hypervisor.say(created.domain.domid, b"%1000d" % number)
        await settle(1)
    chunk = await client.console_read("web", 10)
    assert chunk.next == 100_000
    assert chunk.offset == 100_000 - 65536
    assert chunk.lost == chunk.offset - 10
    assert (await client.console_read("web")).lost == 0


async def test_a_reader_of_a_long_console_is_told_of_the_end_with_the_last_byte(
    tmp_path: Path, threadless: None
) -> None:
    config = with_limits(default_config(tmp_path), console_kib=600)
    async with serve_in_memory(tmp_path, config=config) as lvm, open_client(lvm.socket) as client:
        created = await client.create(lvm.noop, name="web")
        for _ in range(300):
            lvm.hypervisor.say(created.domain.domid, b"x" * 2000)
            await settle(1)
        lvm.hypervisor.crash(created.domain.domid)
        await client.wait("web")
        await settle()
        at, ended = 0, False
        while not ended:
            chunk = await client.console_read("web", at)
            assert chunk.offset == at
            at, ended = chunk.next, chunk.ended
        assert at == 600_000
        async with client.follow_console("web") as chunks:
            followed = [chunk async for chunk in chunks]
        assert sum(len(chunk.data) for chunk in followed) == 600_000
        assert [chunk.ended for chunk in followed] == [False] * (len(followed) - 1) + [True]


async def test_a_corrupt_ring_costs_what_was_in_it_and_no_more(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.misbehave, name="web", cmdline="ready ring")
    await settle()
    lvm.hypervisor.say(created.domain.domid, b"again")
    await settle()
    assert (await client.console_read("web")).data == b"again"


async def test_a_slow_follower_loses_bytes_and_is_told(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    async with open_raw(lvm.socket) as raw:
        await raw.send(call("Console", more=True, domain="web", follow=True))
        for _ in range(300):
            lvm.hypervisor.say(created.domain.domid, b"x" * 2000)
            await trio.sleep(0.06)
        await client.destroy("web")
        total = lost = 0
        while True:
            reply = await raw.receive()
            chunk = reply["parameters"]
            assert chunk["offset"] == total + chunk["lost"]
            lost += chunk["lost"]
            total = chunk["next"]
            if not reply.get("continues"):
                break
    assert total == 600_000
    assert lost > 0
