"""Terminals of guests in XenStore mode: one more reader and one more writer of a console."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from lightvm.client import Client
from lightvm.model import Domain, Mode
from lightvm.testing import InMemory
from tests.waits import settle, until


@pytest.fixture
async def domain(lvm: InMemory, client: Client) -> AsyncIterator[Domain]:
    """A guest that repeats what it hears."""
    created = await client.create(lvm.hello, name="web", mode=Mode.XENSTORE, cmdline="echo")
    await until(lambda: tty(lvm, created.domain) != "")
    return created.domain


def tty(lvm: InMemory, domain: Domain) -> str:
    """Return where XenStore says that its terminal is."""
    return lvm.store.nodes.get(f"/local/domain/{domain.domid}/console/tty", "")


@contextmanager
def terminal(lvm: InMemory, domain: Domain) -> Iterator[int]:
    """Open it as ``xl console`` does."""
    fd = os.open(tty(lvm, domain), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


async def shows(fd: int, text: bytes) -> None:
    """Wait until a terminal shows a text."""
    seen = b""

    def has_shown() -> bool:
        nonlocal seen
        try:
            seen += os.read(fd, 4096)
        except BlockingIOError:
            return False
        return text in seen

    await until(has_shown)


async def test_who_comes_later_sees_what_was_written_before(lvm: InMemory, domain: Domain) -> None:
    with terminal(lvm, domain) as fd:
        await shows(fd, b"Hello from a LightVM guest.\nCommand line: echo\n")


async def test_what_is_typed_is_heard_as_it_is(lvm: InMemory, domain: Domain) -> None:
    with terminal(lvm, domain) as fd:
        os.write(fd, b"\x03 twice\n")
        await shows(fd, b"echo\n\x03 twice\n")


async def test_both_consoles_show_the_same(lvm: InMemory, client: Client, domain: Domain) -> None:
    with terminal(lvm, domain) as fd:
        await client.console_write("web", b"over there\n")
        await shows(fd, b"over there\n")
    assert b"over there\n" in (await client.console_read("web")).data


async def test_nothing_typed_is_heard_while_somebody_else_is_attached(
    lvm: InMemory, client: Client, domain: Domain
) -> None:
    live = lvm.service.registry.find("web")
    live.writer = "somebody"
    with terminal(lvm, domain) as fd:
        os.write(fd, b"lost\n")
        await settle()
        live.writer = None
        os.write(fd, b"heard\n")
        await shows(fd, b"heard\n")
    assert b"lost" not in (await client.console_read("web")).data


async def test_a_terminal_that_nobody_reads_holds_nothing_up(
    lvm: InMemory, client: Client, domain: Domain
) -> None:
    for number in range(100):
        await client.console_write("web", b"%03d" % number + b"x" * 1000 + b"\n")
    with terminal(lvm, domain) as fd:
        await shows(fd, b"099x")


async def test_it_goes_with_its_domain(lvm: InMemory, client: Client, domain: Domain) -> None:
    before = len(os.listdir("/proc/self/fd"))
    await client.destroy("web")
    await until(lambda: len(os.listdir("/proc/self/fd")) == before - 2)
    await until(lambda: tty(lvm, domain) == "")


async def test_a_store_that_fails_costs_the_terminal_only(lvm: InMemory, client: Client) -> None:
    before = len(os.listdir("/proc/self/fd"))
    created = await client.create(lvm.noop, mode=Mode.XENSTORE, paused=True)
    lvm.store.broken = True
    await settle(1)
    assert len(os.listdir("/proc/self/fd")) == before
    lvm.store.broken = False
    await client.unpause(created.domain.name)


async def test_other_guests_have_none(lvm: InMemory, client: Client) -> None:
    before = len(os.listdir("/proc/self/fd"))
    created = await client.create(lvm.noop)
    await settle(1)
    assert tty(lvm, created.domain) == ""
    assert len(os.listdir("/proc/self/fd")) == before
