"""Figure 9: the create time of one unikernel with a vif under five toolstacks, as guests become more.

The clock stops when the guest is ready, or for those that cannot say so, in XenStore mode and under xl, when it has
been let run.
"""

from __future__ import annotations

from benchmarks.daemon import WAYS, Pool, Way, open_bridge, open_daemon, warm_up
from benchmarks.instances import Guests, XlGuests, rise_and_fall
from benchmarks.programs import TRUE, spawn
from benchmarks.record import Budget, Record
from benchmarks.rows import YARDSTICK

SHARES = {"noxs+split": 0.36, "noxs": 0.24, "xs+split": 0.18, "xs": 0.1, "xl": 0.12}
"""Who gets how much of the time, in proportion: each has its share of what those before it have left."""
WARM_UP = 20
"""Not more: all of a pool are ports of one bridge, which has at most 1,023."""
FILL = 0.6
"""The share of a contender's time in which its pool is filled."""


def measure(record: Record) -> None:
    """Measure the five, each with nothing else running."""
    top = record.pick(small=30, paper=1000)
    shares = dict(SHARES)

    def next_budget(name: str) -> Budget:
        whole = sum(shares.values())
        return record.budget.share(shares.pop(name) / whole)

    for way in WAYS:
        record.add(YARDSTICK, "create", *spawn(20, TRUE))
        measure_way(record, way, top, next_budget(way.name))
    with open_bridge():
        rise_and_fall(record, XlGuests("xl"), top, next_budget("xl"))


def measure_way(record: Record, way: Way, top: int, budget: Budget) -> None:
    """Measure one way of LightVM, its ends included."""
    if way.cold:
        with open_daemon() as daemon:
            rise_and_fall(record, Guests(daemon, way.name, way.create), top, budget)
        return
    pool = Pool(name="net", shells=top + WARM_UP, vif=True, mode=way.mode)
    with open_daemon(pool) as daemon:
        shells = daemon.fill_within(pool, budget.share(FILL))
        if shells < pool.shells:
            record.note(f"{way.name}: the time was enough for {shells} shells")
        if shells > WARM_UP:
            warm_up(daemon.client, WARM_UP, vif=True, mode=way.mode)
            guests = Guests(daemon, way.name, way.create)
            rise_and_fall(record, guests, min(top, shells - WARM_UP), budget)
