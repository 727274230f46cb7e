"""What the conformance tests work with: a hypervisor, guests, and waits that all have an end."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import trio

import lightvm
from lightvm.testing import FakeHypervisor, make_image
from lightvm.xen.domain_info import DomainInfo, Watched
from lightvm.xen.hypervisor import Boot, Handle, Hypervisor, Shape
from lightvm.xen.image import Image, parse

T = TypeVar("T")

SMALL = Shape.of(4096, 1)
PATIENCE = 20.0
"""Seconds after which what was waited for counts as not happening; an emulated Xen is slow."""

PAUSE = 0.02


async def eventually(look: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """Look until what is seen is good, and return it."""
    seen: T | None = None
    with trio.move_on_after(PATIENCE):
        while True:
            seen = await look()
            if good(seen):
                return seen
            await trio.sleep(PAUSE)
    raise AssertionError(f"after {PATIENCE:g} s still {seen!r}")


class Rig:
    """A hypervisor under test; remembers what was made, so that nothing stays."""

    def __init__(self, hypervisor: Hypervisor, guests: Path, directory: Path) -> None:
        self.hypervisor = hypervisor
        self._guests = guests
        self._directory = directory
        self._held: dict[int, Handle] = {}
        self._made: set[int] = set()

    async def aclose(self) -> None:
        """Give back all that was made, and close the hypervisor."""
        for domid in list(self._held):
            await self.release(self._held[domid])
        for domid in self._made:
            await self.hypervisor.destroy(domid)
        self.hypervisor.close()

    # Domains

    async def prepare(self, shape: Shape = SMALL, uuid: bytes | None = None) -> Handle:
        """Make a shell."""
        handle = await self.hypervisor.prepare(shape, uuid or os.urandom(16))
        self._made.add(handle.domid)
        self._held[handle.domid] = handle
        return handle

    async def release(self, handle: Handle) -> None:
        """Let go of a domain, which stays."""
        del self._held[handle.domid]
        await self.hypervisor.release(handle)

    async def adopt(self, domid: int, console_port: int, control_port: int) -> Handle:
        """Take hold again of a domain."""
        handle = await self.hypervisor.adopt(domid, console_port, control_port)
        self._held[domid] = handle
        return handle

    async def destroy(self, handle: Handle) -> None:
        """Let go of a domain and destroy it."""
        await self.release(handle)
        await self.hypervisor.destroy(handle.domid)

    async def boot(self, guest: str, cmdline: str = "", uuid: bytes | None = None) -> Handle:
        """Make a domain of one of LightVM's guests and let it run."""
        handle = await self.prepare(uuid=uuid)
        self.hypervisor.load(handle, self.describe(guest, cmdline))
        self.hypervisor.unpause(handle)
        return handle

    def describe(self, guest: str, cmdline: str = "") -> Boot:
        """Return what boots one of LightVM's guests."""
        path = self._guests / guest
        return Boot(image=parse(path.read_bytes(), str(path)), cmdline=cmdline.encode())

    def image(self, content: bytes) -> Image:
        """Return a kernel as an image."""
        return parse(content, str(self._directory / "made-to-measure"))

    # Observation

    async def listed(self, domid: int) -> DomainInfo | None:
        """Return a domain as Xen lists it."""
        for info in await self.hypervisor.list_domains():
            if info.domid == domid:
                return info
        return None

    async def settle_events(self) -> None:
        """Take what is pending from the making of domains."""
        with trio.move_on_after(0.1):
            while True:
                await self.hypervisor.wait_events()
                for event in self.hypervisor.take_events():
                    self.hypervisor.unmask(event)

    async def wait_event(self, wanted: int) -> None:
        """Wait for an event, and leave it masked; others are dropped."""
        with trio.move_on_after(PATIENCE):
            while True:
                await self.hypervisor.wait_events()
                taken = self.hypervisor.take_events()
                for event in taken:
                    if event != wanted:
                        self.hypervisor.unmask(event)
                if wanted in taken:
                    return
        raise AssertionError(f"no event {wanted} after {PATIENCE:g} s")

    async def wait_ready(self, handle: Handle) -> None:
        """Wait until a guest has said that it is ready."""

        async def ready() -> int:
            return self.hypervisor.read_control(handle).ready

        await eventually(ready, lambda word: word == 1)

    async def wait_ended(self, handle: Handle, uuid: bytes) -> DomainInfo:
        """Wait until a domain has ended, and return it as the hypervisor describes it."""

        async def look() -> list[DomainInfo]:
            return list(await self.hypervisor.find_changed([Watched(handle.domid, uuid)]))

        return (await eventually(look, bool))[0]

    async def read_console(self, handle: Handle, enough: Callable[[bytes], bool]) -> bytes:
        """Read a console until there is enough of it."""
        text = b""

        async def look() -> bytes:
            nonlocal text
            text += self.hypervisor.take_console(handle)
            return text

        return await eventually(look, enough)


def open_fake(directory: Path) -> Rig:
    """Return a rig over the hypervisor in memory."""
    for name in ("noop", "hello", "misbehave"):
        (directory / name).write_bytes(make_image())
    return Rig(FakeHypervisor(), directory, directory)


def open_xen(directory: Path) -> Rig:
    """Return a rig over Xen, with the guests that were installed with the package."""
    from lightvm.xen.binding import XenHypervisor

    guests = Path(os.path.dirname(lightvm.__file__)) / "guests"
    return Rig(XenHypervisor(), guests, directory)
