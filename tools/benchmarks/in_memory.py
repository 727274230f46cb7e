"""Creates and ends of daemon and client together, over a hypervisor in memory: the project's own share of them.

What Xen, the kernel and the guest do is not in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import trio

import lightvm
from benchmarks.record import Record
from benchmarks.steps import counted_steps, medians
from lightvm.daemon.config import Config, FlavorSection, NetworkSection
from lightvm.model import CreateRequest, NetRequest, Source, WaitFor
from lightvm.testing import FakeHypervisor, InMemory, default_config, serve_in_memory

WARM, EACH, OTHERS, STEPPED, MANY = 50, 200, 100, 100, 50
SHELLS = WARM + EACH + OTHERS + STEPPED + MANY + 10
DAEMON = "in memory"


@dataclass(frozen=True, slots=True)
class Meter:
    """What is read before something and after it: a clock, or a counter of instructions."""

    read: Callable[[], int]
    unit: str
    per_unit: float = 1.0
    """How much it goes on by in one unit."""

    def note(self, record: Record, contender: str, metric: str, spent: float) -> None:
        """Write down a difference of two readings."""
        record.add(contender, metric, spent / self.per_unit, unit=self.unit)


async def measure_in_memory(record: Record, meter: Meter) -> None:
    """Measure creates one after the other, of the same and of others, their steps, ends, and many in one call."""
    with tempfile.TemporaryDirectory(prefix="lightvm-bench-") as temporary:
        directory = Path(temporary)
        hypervisor = FakeHypervisor(total_kib=1 << 30)
        async with serve_in_memory(
            directory, config=_make_config(directory), hypervisor=hypervisor
        ) as served:
            await _measure_served(record, meter, served)


async def _measure_served(record: Record, meter: Meter, served: InMemory) -> None:
    nets = (NetRequest(network="bench"),)
    async with lightvm.open_client(served.socket) as client:
        while (await client.pool_status())[0].shells < SHELLS:  # noqa: ASYNC110 (a client can but ask)
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
            begun = meter.read()
            made.append(await create())
            meter.note(record, DAEMON, "create", meter.read() - begun)
        for number in range(OTHERS):
            begun = meter.read()
            await create(f"other={number}")
            meter.note(record, DAEMON, "create, not as the one before", meter.read() - begun)
        await _measure_steps(record, meter, create)
        for uuid in made:
            begun = meter.read()
            await client.destroy(uuid)
            meter.note(record, DAEMON, "destroy", meter.read() - begun)
        request = CreateRequest(image=served.noop, nets=nets, wait=WaitFor.READY)
        begun = meter.read()
        results = await client.create_many([request] * MANY)
        each = (meter.read() - begun) / MANY
        assert all(result.created is not None for result in results)
        meter.note(record, DAEMON, "create of many", each)


async def _measure_steps(
    record: Record, meter: Meter, create: Callable[[str], Awaitable[str]]
) -> None:
    rounds, rest = [], []
    with counted_steps(meter.read) as ledger:
        for number in range(STEPPED):
            begun = meter.read()
            await create(f"stepped={number}")  # so that no step can be left out
            whole = meter.read() - begun
            rounds.append(ledger.take())
            rest.append(whole - sum(rounds[-1].values()) - ledger.cost)
    for step, spent in medians(rounds).items():
        meter.note(record, step, "step", spent)
    meter.note(record, "the client, and the loop of events", "step", median(rest))


def _make_config(directory: Path) -> Config:
    return msgspec.structs.replace(
        default_config(directory),
        networks={"bench": NetworkSection(bridge="lvbench0", address="10.79.0.1/16")},
        flavors={"net": FlavorSection(memory_kib=4096, low=1, high=SHELLS, networks=("bench",))},
    )
