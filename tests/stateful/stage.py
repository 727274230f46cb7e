"""A daemon in memory for code that is not async: trio runs in a thread, and time passes only as it is told."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import trio
import trio.testing

from lightvm.client import Client, open_client
from lightvm.daemon.config import Config, FlavorSection, NetworkSection
from lightvm.testing import (
    FakeHypervisor,
    InMemory,
    MemoryFilters,
    MemoryLoops,
    MemoryPorts,
    MemoryStore,
    default_config,
    serve_in_memory,
)
from tests.unit.daemon.samples import with_pool

T = TypeVar("T")

TICK_SECONDS = 0.1
MOST_TICKS = 3000
"""An act that takes more time than that hangs."""


def configure(directory: Path) -> Config:
    """Return a configuration with a flavor without, and one with devices."""
    config = default_config(directory)
    both = FlavorSection(low=1, high=1, networks=("lan",), disks=1)
    return msgspec.structs.replace(
        config,
        networks={"lan": NetworkSection(bridge="br0", address="10.0.0.1/29", antispoof=True)},
        flavors={**config.flavors, "both": both},
    )


class Stage:
    """A host, a daemon on it, and a clock."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lightvm-"))
        self.hypervisor = FakeHypervisor()
        self.store = MemoryStore()
        self.ports, self.loops = MemoryPorts(self.store), MemoryLoops(self.store)
        self.filters = MemoryFilters()
        self.lvm: InMemory
        self._config = with_pool(configure(self.directory), yield_ms=0)
        self._clock = trio.testing.MockClock()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._open.wait(10)
        self.start()

    def close(self) -> None:
        """Stop the daemon and end the thread."""
        self.stop()
        self._on_stage(self._end)
        self._thread.join(10)
        assert not self._thread.is_alive()
        shutil.rmtree(self.directory)

    def _run(self) -> None:
        trio.run(self._main, clock=self._clock)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self._nursery:
            self._open.set()
            await trio.sleep_forever()

    async def _end(self) -> None:
        self._nursery.cancel_scope.cancel()

    def _on_stage(self, act: Callable[[], Awaitable[T]]) -> T:
        return trio.from_thread.run(act, trio_token=self._token)

    # The daemon

    def start(self) -> None:
        """Start a daemon."""
        self.lvm = self.play(self._start)

    async def _start(self) -> InMemory:
        lvm: InMemory = await self._nursery.start(self._serve)
        return lvm

    async def _serve(self, *, task_status: trio.TaskStatus[InMemory]) -> None:
        self._stopped = trio.Event()
        with trio.CancelScope() as self._life:
            async with serve_in_memory(
                self.directory,
                config=self._config,
                hypervisor=self.hypervisor,
                store=self.store,
                ports=self.ports,
                loops=self.loops,
                filters=self.filters,
            ) as lvm:
                self._stop = trio.Event()
                task_status.started(lvm)
                await self._stop.wait()
        self._stopped.set()

    def stop(self) -> None:
        """Stop the daemon in order."""
        self.play(lambda: self._end_daemon(self._stop.set))

    def kill(self) -> None:
        """Drop the daemon."""
        self.play(lambda: self._end_daemon(self._life.cancel))

    async def _end_daemon(self, end: Callable[[], None]) -> None:
        end()
        await self._stopped.wait()
        self.hypervisor.forget_handles()

    # Acts

    def play(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do something while time passes, and return what comes of it."""

        async def play() -> T:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                result = await act()
                nursery.cancel_scope.cancel()
                return result

        return self._on_stage(play)

    async def _tick(self) -> None:
        for _ in range(MOST_TICKS):
            await trio.testing.wait_all_tasks_blocked()
            self._clock.jump(TICK_SECONDS)
        raise AssertionError("it hangs")

    def do(self, act: Callable[[], None]) -> None:
        """Do something that takes no time, as a part of the trio program."""

        async def do() -> None:
            act()

        self._on_stage(do)

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the daemon as a client of its own."""

        async def ask() -> T:
            async with open_client(self.lvm.socket) as client:
                return await question(client)

        return self.play(ask)

    def settle(self, seconds: float = 1.5) -> None:
        """Let happen what happens by itself in a while."""

        async def wait() -> None:
            await trio.sleep(seconds)

        self.play(wait)
