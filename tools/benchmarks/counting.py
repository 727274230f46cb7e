"""Instructions of a create, of daemon and client together: over a hypervisor in memory, so that no lab is needed.

Times depend on the machine and on what else it does. The user-mode instructions of one process, as its processor counts
them, are the same each time to a fraction of a percent, so that a change of two percent is seen. What Xen, the kernel
and the guest do is not in them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec
import trio
from xenlab.errors import LabError
from xenlab.wheels import PROJECT

import lightvm
from benchmarks.record import Budget, Record
from benchmarks.rows import Outcome, Run, write_run
from benchmarks.runner import describe_revision
from benchmarks.steps import counted_steps, medians
from lightvm.daemon.config import Config, FlavorSection, NetworkSection
from lightvm.model import CreateRequest, NetRequest, Source, WaitFor
from lightvm.testing import FakeHypervisor, InMemory, default_config, serve_in_memory

WARM, EACH, OTHERS, STEPPED, MANY = 50, 200, 100, 100, 50
SHELLS = WARM + EACH + OTHERS + STEPPED + MANY + 10
SECONDS = 300.0
DAEMON = "in memory"

_PERF_EVENT_OPEN = 298
_HARDWARE, _INSTRUCTIONS = 0, 1
_USER_ONLY = 1 << 5 | 1 << 6  # neither kernel nor hypervisor
_ATTRIBUTES = struct.Struct("=IIQQQQQ80x")


@contextmanager
def open_counter() -> Iterator[int]:
    """Yield a descriptor that reads as this thread's instructions; raises `LabError` where nothing counts them."""
    if platform.machine() != "x86_64":
        raise LabError("no-counter", "instructions are counted on x86-64 only")
    packed = _ATTRIBUTES.pack(_HARDWARE, _ATTRIBUTES.size, _INSTRUCTIONS, 0, 0, 0, _USER_ONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(packed, _ATTRIBUTES.size)
    fd = libc.syscall(_PERF_EVENT_OPEN, attributes, 0, -1, -1, 0)
    if fd < 0:
        reason = os.strerror(ctypes.get_errno())
        raise LabError("no-counter", f"this processor's counters cannot be read here: {reason}")
    try:
        yield fd
    finally:
        os.close(fd)


def read_counter(counter: int) -> int:
    """Return the instructions so far."""
    return int.from_bytes(os.read(counter, 8), "little")


def count_in_memory(directory: Path) -> None:
    """Count, and write what was counted as the files of a run; raises `LabError`."""
    directory.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(experiment="count")
    record = Record(directory, outcome, scale="small", budget=Budget(SECONDS))
    with open_counter() as counter:
        trio.run(_count, record, counter)
    machine = {
        "project": describe_revision(PROJECT),
        "emulated": "no",
        "Python": platform.python_version(),
    }
    write_run(directory, Run(scale="small", machine=machine, outcomes=[outcome]))


async def _count(record: Record, counter: int) -> None:
    with tempfile.TemporaryDirectory(prefix="lightvm-bench-") as temporary:
        directory = Path(temporary)
        hypervisor = FakeHypervisor(total_kib=1 << 30)
        async with serve_in_memory(
            directory, config=_make_config(directory), hypervisor=hypervisor
        ) as served:
            await _count_served(record, counter, served)


async def _count_served(record: Record, counter: int, served: InMemory) -> None:
    nets = (NetRequest(network="bench"),)
    async with lightvm.open_client(served.socket) as client:
        # Only the daemon's reply tells.
        while any(p.shells < SHELLS for p in await client.pool_status()):  # noqa: ASYNC110
            await trio.sleep(0.1)

        async def create(cmdline: str | None = None) -> str:
            created = await client.create(
                served.noop, cmdline=cmdline, nets=nets, wait=WaitFor.READY
            )
            assert created.source is Source.POOL
            return created.domain.uuid

        for _ in range(WARM):
            await create()
        made = []
        for _ in range(EACH):
            begun = read_counter(counter)
            made.append(await create())
            record.add(DAEMON, "create", read_counter(counter) - begun, unit="instructions")
        for number in range(OTHERS):
            begun = read_counter(counter)
            await create(f"other={number}")
            spent = read_counter(counter) - begun
            record.add(DAEMON, "create, not as the one before", spent, unit="instructions")
        await _count_steps(record, counter, create)
        for uuid in made:
            begun = read_counter(counter)
            await client.destroy(uuid)
            record.add(DAEMON, "destroy", read_counter(counter) - begun, unit="instructions")
        request = CreateRequest(image=served.noop, nets=nets, wait=WaitFor.READY)
        begun = read_counter(counter)
        results = await client.create_many([request] * MANY)
        each = (read_counter(counter) - begun) / MANY
        assert all(result.created is not None for result in results)
        record.add(DAEMON, "create of many", each, unit="instructions")


async def _count_steps(
    record: Record, counter: int, create: Callable[[str], Awaitable[str]]
) -> None:
    rounds, rest = [], []
    with counted_steps(lambda: read_counter(counter)) as ledger:
        for number in range(STEPPED):
            begun = read_counter(counter)
            await create(f"stepped={number}")  # so that no step can be left out
            whole = read_counter(counter) - begun
            rounds.append(ledger.take())
            rest.append(whole - sum(rounds[-1].values()) - ledger.cost)
    for step, instructions in medians(rounds).items():
        record.add(step, "step", instructions, unit="instructions")
    record.add("the client, and the loop of events", "step", median(rest), unit="instructions")


def _make_config(directory: Path) -> Config:
    return msgspec.structs.replace(
        default_config(directory),
        networks={"bench": NetworkSection(bridge="lvbench0", address="10.79.0.1/16")},
        flavors={"net": FlavorSection(memory_kib=4096, low=1, high=SHELLS, networks=("bench",))},
    )
