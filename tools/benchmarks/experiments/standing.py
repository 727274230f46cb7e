"""Figures 14 and 15: what instances that do nothing take: memory of Xen, of dom0 and of their own, and dom0's time.

Xen's share is what its free memory has become less by, and has the guests' own in it.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.daemon import Pool, open_daemon, settle_host
from benchmarks.instances import (
    Beaconing,
    Beacons,
    Containers,
    Guests,
    Instances,
    Processes,
    rise_and_fall,
)
from benchmarks.linux import MEMORY_MIB
from benchmarks.machine import xl_info
from benchmarks.processor import dom0_share
from benchmarks.record import Record
from lightvm.model import Mode

SMALL_KIB, TINY_KIB = 1024, 4096
FILL = 0.6
"""The share of a pool's time in which it is filled."""
KIB_OF_MIB = 1024


def measure(record: Record) -> None:
    """Measure each kind, with nothing else running."""
    many = record.pick(small=30, paper=1000)
    record.add("nothing", "idle", idle_percent(record), unit="%")
    stand(record, Processes(static=True), many, 0.12)
    noop = Pool(name="small", shells=many, memory_kib=SMALL_KIB)
    stand_ours(record, "noop, 1 MiB", noop, 0.22)
    linux = Pool(
        name="linux",
        shells=record.pick(small=3, paper=24),
        vif=True,
        mode=Mode.XENSTORE,
        memory_kib=MEMORY_MIB * KIB_OF_MIB,
    )
    stand_ours(record, f"Linux, {MEMORY_MIB} MiB", linux, 0.25)
    stand(record, Containers(), many, 0.3)
    daytime = Pool(name="net", shells=many, memory_kib=TINY_KIB, vif=True)
    stand_ours(record, "daytime, 4 MiB", daytime, 1)


def stand_ours(record: Record, name: str, pool: Pool, share: float) -> None:
    """Look at guests of LightVM in a share of the time; the daemon that runs them counts as dom0's."""
    before, budget = settle_memory(), record.budget.share(share)
    with open_daemon(pool) as daemon:
        shells = daemon.fill_within(pool, budget.share(FILL))
        beacons = Beacons()
        try:
            guests: Instances
            if pool.vif:
                guests = Beaconing(daemon, beacons, name, linux=pool.mode is Mode.XENSTORE)
            else:
                guests = Guests(daemon, name)
            look = Look(record, guests, before, shells + pool.spare)
            record.add(name, "given memory", pool.memory_kib / KIB_OF_MIB, unit="MiB")
            rise_and_fall(record, guests, shells, budget, look.at_top)
        finally:
            beacons.close()


def stand(record: Record, instances: Instances, top: int, share: float) -> None:
    """Look at processes or containers in a share of the time."""
    look = Look(record, instances, settle_memory())
    rise_and_fall(record, instances, top, record.budget.share(share), look.at_top)


class Memory:
    """How much memory there is now: Xen's free memory, and what dom0 could give to a new program, in MiB."""

    def __init__(self) -> None:
        self.xen = float(xl_info()["free_memory"])
        found = re.search(
            r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE
        )
        assert found is not None
        self.dom0 = int(found[1]) / KIB_OF_MIB


def settle_memory() -> Memory:
    """Wait until names are written and what has ended has given all back, as far as that can be seen; look then."""
    settle_host()
    return Memory()


class Look:
    """Looks at instances once they all are there; of a pool, also shells that no time was left for take memory."""

    def __init__(
        self, record: Record, instances: Instances, before: Memory, shells: int = 0
    ) -> None:
        self._record, self._instances, self._before = record, instances, before
        self._shells = shells

    def at_top(self) -> None:
        """Write down what the instances take, each of them, and what dom0 does while nobody asks for anything."""
        record, name, count = self._record, self._instances.name, len(self._instances.running)
        if not count:
            return
        now, before = settle_memory(), self._before
        each = max(count, self._shells)
        xen, dom0 = (before.xen - now.xen) / each, (before.dom0 - now.dom0) / each
        record.add(name, "Xen memory", xen, unit="MiB", running=count)
        record.add(name, "dom0 memory", dom0, unit="MiB", running=count)
        record.add(name, "memory", xen + dom0, unit="MiB", running=count)
        record.add(name, "idle", idle_percent(record), unit="%", running=count)
        record.say(f"{name}: {count} are looked at")


def idle_percent(record: Record) -> float:
    """Return how much of a processor dom0 takes while nothing is asked of it, in percent."""
    return 100 * dom0_share(record.pick(small=5.0, paper=30.0))
