"""For the tests of those who build on LightVM: the real daemon over a hypervisor in memory.

No Xen, no root, no compiler. What runs is `lightvmd` itself with its server, pools and journal; only Xen is faked::

    async with lightvm.testing.serve_in_memory() as lvm:
        async with lightvm.open_client(lvm.socket) as client:
            created = await client.create(lvm.noop, wait="ready")
            lvm.hypervisor.crash(created.domain.domid)

Guests of the names ``noop``, ``hello`` and ``misbehave`` behave like LightVM's guests of those names; any other image
behaves like ``noop``. Faults are injected through `lightvm.xen.fake.FakeHypervisor`.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from lightvm.daemon.config import Config, Daemon, FlavorSection, Limits, PoolLimits
from lightvm.daemon.devices import Dom0
from lightvm.daemon.disk.loops import MemoryLoops
from lightvm.daemon.handlers import Service
from lightvm.daemon.jit.listener import MemoryWires
from lightvm.daemon.listen import lock_state, open_listeners
from lightvm.daemon.net.filters import MemoryFilters
from lightvm.daemon.net.links import MemoryPorts
from lightvm.daemon.run import serve_daemon
from lightvm.daemon.xenstore.memory import MemoryStore
from lightvm.xen.fake import FakeHypervisor

__all__ = [
    "FakeHypervisor",
    "InMemory",
    "MemoryFilters",
    "MemoryLoops",
    "MemoryPorts",
    "MemoryStore",
    "MemoryWires",
    "make_image",
    "serve_in_memory",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemory:
    """A daemon in memory: its socket, what it runs on, and image files for it."""

    socket: str
    hypervisor: FakeHypervisor
    store: MemoryStore
    ports: MemoryPorts
    filters: MemoryFilters
    loops: MemoryLoops
    wires: MemoryWires
    service: Service
    images: Path

    @property
    def noop(self) -> str:
        """Path of an image that becomes ready and sleeps."""
        return str(self.images / "noop")

    @property
    def hello(self) -> str:
        """Path of an image that prints, then exits with ``status=N`` of its command line."""
        return str(self.images / "hello")

    @property
    def misbehave(self) -> str:
        """Path of an image that misbehaves as its command line says (``native/guest/misbehave``)."""
        return str(self.images / "misbehave")


@asynccontextmanager
async def serve_in_memory(
    directory: Path | None = None,
    *,
    config: Config | None = None,
    hypervisor: FakeHypervisor | None = None,
    store: MemoryStore | None = None,
    ports: MemoryPorts | None = None,
    filters: MemoryFilters | None = None,
    loops: MemoryLoops | None = None,
    wires: MemoryWires | None = None,
) -> AsyncIterator[InMemory]:
    """Serve in memory for the length of a block; leaving it stops the daemon in order.

    Files go below `directory`, by default a temporary one. Pass the `hypervisor` of an earlier daemon, after its
    `forget_handles`, and the same `directory`, to see a restart.
    """
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="lightvm-") as temporary:
            async with serve_in_memory(
                Path(temporary),
                config=config,
                hypervisor=hypervisor,
                store=store,
                ports=ports,
                filters=filters,
                loops=loops,
                wires=wires,
            ) as served:
                yield served
        return
    config = config or default_config(directory)
    hypervisor = hypervisor or FakeHypervisor()
    store = store or MemoryStore()
    ports = ports or MemoryPorts(store)
    filters = filters or MemoryFilters()
    loops = loops or MemoryLoops(store)
    wires = wires or MemoryWires()
    dom0 = Dom0(store, ports, filters, loops, wires)
    for name in ("noop", "hello", "misbehave"):
        (directory / name).write_bytes(make_image())
    stop = trio.Event()
    quiet = not structlog.is_configured()
    if quiet:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    try:
        with (
            lock_state(Path(config.daemon.state_dir)),
            open_listeners(Path(config.daemon.socket), "") as listeners,
        ):
            async with trio.open_nursery() as nursery:
                service = await nursery.start(
                    serve_daemon, config, hypervisor, dom0, listeners, stop
                )
                yield InMemory(
                    socket=config.daemon.socket,
                    hypervisor=hypervisor,
                    store=store,
                    ports=ports,
                    filters=filters,
                    loops=loops,
                    wires=wires,
                    service=service,
                    images=directory,
                )
                stop.set()
    finally:
        if quiet:
            structlog.reset_defaults()


def default_config(directory: Path) -> Config:
    """Return a configuration with small pools and everything below a directory."""
    return Config(
        daemon=Daemon(
            socket=str(directory / "lightvm.sock"),
            state_dir=str(directory / "state"),
            drain_seconds=0.5,
        ),
        limits=Limits(ready_seconds=5.0),
        pool=PoolLimits(memory_floor_mib=16),
        flavors={"tiny": FlavorSection(memory_kib=4096, vcpus=1, low=2, high=4)},
    )


def make_image(*, paddr: int = 0x10000, size: int = 4096, memsz: int | None = None) -> bytes:
    """Return a minimal ELF with PVH entry and device page notes, as the loader wants it."""
    notes = struct.pack("<III4sI", 4, 4, 18, b"Xen", paddr)
    notes += struct.pack("<III8sI", 8, 4, 1, b"LightVM", 1)
    phoff, note_at = 52, 52 + 2 * 32
    data_at = note_at + len(notes)
    header = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, paddr, phoff, 0, 0, 52, 32, 2, 0, 0, 0)
    load = struct.pack("<IIIIIIII", 1, data_at, paddr, paddr, size, memsz or size, 7, 4096)
    note = struct.pack("<IIIIIIII", 4, note_at, 0, 0, len(notes), len(notes), 4, 4)
    return header + load + note + notes + b"\x90" * size
