"""Figures 4 and 11: how long it takes to create instances, and until they run, as they become more.

Under LightVM with a pool, under xl, as containers and as processes. Guests have booted when the datagram from their
network arrives, containers and processes when the first byte of their program does.
"""

from __future__ import annotations

from benchmarks.daemon import (
    WARM_UP,
    Pool,
    create_timed,
    open_bridge,
    open_daemon,
    settle_host,
    warm_up,
)
from benchmarks.instances import (
    Beaconing,
    Beacons,
    Containers,
    Instances,
    Processes,
    XlGuests,
    rise_and_fall,
)
from benchmarks.linux import MEMORY_MIB
from benchmarks.record import Record
from lightvm.model import Mode

WARM = 10
PLAIN, ROWS, TOP = "noop, noxs+split", 6, 1000
"""A row of creates is over in two seconds, within which a shared machine may change its speed; so there are several."""


def measure(record: Record) -> None:
    """Measure each kind, with nothing else running."""
    if record.scale == "paper":
        measure_rows(record)
    beacons = Beacons()
    try:
        measure_ours(record, beacons)
        with open_bridge():
            linux = XlGuests("Linux, xl", beacons=beacons)
            rise_and_fall(record, linux, record.pick(small=2, paper=20), record.budget.share(0.35))
            unikernels = XlGuests("unikernel, xl")
            rise_and_fall(
                record, unikernels, record.pick(small=3, paper=100), record.budget.share(0.4)
            )
    finally:
        beacons.close()
    measure_others(record)


def measure_rows(record: Record) -> None:
    """Measure creates of guests without a vif, from the first to the last, in several rows of a daemon each."""
    pool = Pool(name="plain", shells=TOP + WARM_UP)
    budget = record.budget.share(0.3)
    for number in range(ROWS):
        if budget.is_over:
            record.note(f"{PLAIN}: the time was enough for {number} rows of {ROWS}")
            return
        with open_daemon(pool) as daemon:
            daemon.fill(pool)
            warm_up(daemon.client)
            settle_host()
            took = [create_timed(daemon.client)[1] for _ in range(TOP)]
        for running, ms in enumerate(took):
            record.add(PLAIN, "create", ms, running=running)
        record.say(f"row {number + 1} of {ROWS}")


def measure_ours(record: Record, beacons: Beacons) -> None:
    """Measure the guests of LightVM."""
    unikernels, linuxes = record.pick(small=20, paper=300), record.pick(small=3, paper=24)
    pools = (
        Pool(name="net", shells=unikernels + WARM, vif=True),
        Pool(
            name="linux",
            shells=linuxes,
            vif=True,
            mode=Mode.XENSTORE,
            memory_kib=MEMORY_MIB * 1024,
        ),
    )
    with open_daemon(*pools) as daemon:
        budget = record.budget.share(0.5)
        shells = [daemon.fill_within(pool, budget.share(0.4)) for pool in pools]
        if shells[0] > WARM:
            warm_up(daemon.client, WARM, vif=True)
            each: Instances = Beaconing(daemon, beacons, "unikernel, noxs+split", linux=False)
            rise_and_fall(record, each, shells[0] - WARM, budget.share(0.5))
            daemon.clear()
            settle_host()
        each = Beaconing(daemon, beacons, "Linux, xs+split", linux=True)
        rise_and_fall(record, each, shells[1], budget)


def measure_others(record: Record) -> None:
    """Measure processes and containers."""
    top = record.pick(small=20, paper=1000)
    for static in (True, False):
        rise_and_fall(record, Processes(static=static), top, record.budget.share(0.2))
    rise_and_fall(record, Containers(), top, record.budget.share(0.9))
