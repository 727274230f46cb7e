"""One client and a quiet host: what a create and an end take, beside processes, containers and xl.

Contenders take turns in rounds, so that all see the same host. Each round has a daemon with pools of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from benchmarks import xl
from benchmarks.containers import time_crun, time_podman
from benchmarks.daemon import (
    BIN,
    DAYTIME,
    NET,
    NOOP,
    WARM_UP,
    WAYS,
    Daemon,
    Pool,
    await_tickets,
    create_timed,
    open_daemon,
    settle_host,
    timed,
    until_unpaused,
    vif_address,
    warm_up,
)
from benchmarks.programs import TRUE, compile_program, spawn
from benchmarks.record import Record
from benchmarks.rows import YARDSTICK
from lightvm.blocking import Client
from lightvm.model import CreateRequest, NetRequest, WaitFor

SPAWNED, SPARE = 10, 40
"""How many processes come one right after the other, and how many shells are for single creates in between."""
FEW = 5
SETTLE_SECONDS = 1.0
"""A pause between ends, in which what one leaves to the background is done."""
COMMANDS = {"lvm": 3, "lightvm": 1}
"""How often each is run in a round."""
POOLED, POOLED_VIF = "noxs+split, no vif", "noxs+split"


Taken = list[tuple[str, str, list[float]]]
"""Contender, metric, and values in ms: written down when a round is over, since writing is work for dom0, too."""


def measure(record: Record) -> None:
    """Measure all of it."""
    rounds, each, many = record.pick(small=(2, 30, 20), paper=(3, 100, 100))
    for number in range(rounds + 1):
        with open_warm(WARM_UP + each + many + sum(COMMANDS.values())) as daemon:
            taken = run_round(daemon, each, many, swapped=bool(number % 2))
        if number:  # an emulator is slow at what it does for the first time
            for contender, metric, values in taken:
                record.add(contender, metric, *values)
        record.say(f"round {number} of {rounds}" if number else "warm")
    with open_warm(WARM_UP + SPARE) as daemon:
        time_first_answers(record, daemon, record.pick(small=3, paper=10))
        time_cold(record, daemon, record.pick(small=3, paper=10))
        time_others(record, daemon, record.pick(small=2, paper=5))


@contextmanager
def open_warm(shells: int) -> Iterator[Daemon]:
    """Run a daemon that has so many shells of both kinds, and has made creates from them before."""
    plain, net = Pool(name="plain", shells=shells), Pool(name="net", shells=shells, vif=True)
    with open_daemon(plain, net) as daemon:
        daemon.fill(plain, net)
        warm_up(daemon.client)
        warm_up(daemon.client, vif=True)
        yield daemon


def run_round(daemon: Daemon, each: int, many: int, *, swapped: bool) -> Taken:
    """Time processes, creates without and with a vif, and ends, in turn.

    So many creates one right after the other, then many in one call. Which kind comes first alternates: a vif leaves
    work to the background, which is not to be paid for by a create without.
    """
    client = daemon.client
    settle_host()
    taken: Taken = [
        (YARDSTICK, "create", spawn(SPAWNED, TRUE)),
        (f"{YARDSTICK}, static", "create", spawn(SPAWNED, compile_program("resident"))),
        (f"{YARDSTICK}, fixed addresses", "create", spawn(SPAWNED, TRUE, fixed=True)),
    ]
    made: dict[str, list[str]] = {}
    kinds = ((POOLED, None), (POOLED_VIF, NET))
    for contender, nets in reversed(kinds) if swapped else kinds:
        settle_host()
        created = [create_timed(client, nets=nets) for _ in range(each)]
        taken.append((contender, "create", [ms for _, ms in created]))
        made[contender] = [one.domain.uuid for one, _ in created]
        settle_host()
        taken.append((contender, "create of many", [time_many(client, many, nets)]))
        settle_host()
    for contender, uuids in made.items():
        taken += time_ends(client, contender, uuids)
    for command, times in COMMANDS.items():
        line = [str(BIN / command), "create", NOOP, "--wait", "ready", "--socket", daemon.socket]
        taken.append((f"{command} create", "create", spawn(times, *line)))
    taken.append((YARDSTICK, "create", spawn(SPAWNED, TRUE)))
    return taken


def time_ends(client: Client, contender: str, uuids: list[str]) -> Taken:
    """Time ends: half of them one right after the other like the creates, then in turn whole ones and after a pause."""
    together, rest = uuids[: len(uuids) // 2], uuids[len(uuids) // 2 :]
    ends = [timed(client.destroy, uuid) for uuid in together]
    settle_host()
    all_of_it, paused = [], []
    for one, other in zip(rest[:FEW], rest[FEW : 2 * FEW], strict=True):
        all_of_it.append(timed(client.destroy, one, wait=True))
        time.sleep(SETTLE_SECONDS)
        paused.append(timed(client.destroy, other))
        time.sleep(SETTLE_SECONDS)
    settle_host()
    return [
        (contender, "destroy", ends),
        (contender, "destroy, all", all_of_it),
        (contender, "destroy after a pause", paused),
    ]


def time_many(client: Client, many: int, nets: Sequence[NetRequest] | None) -> float:
    """Create so many in one call, which is another than those before; return what that took for each, in ms."""
    request = CreateRequest(
        image=NOOP, nets=None if nets is None else tuple(nets), wait=WaitFor.READY
    )
    await_tickets(client)
    begun = time.perf_counter()
    results = client.create_many([request] * many)
    took = (time.perf_counter() - begun) * 1e3
    if failures := [each.failure for each in results if each.failure]:
        raise RuntimeError(f"{len(failures)} of {many}: {failures[0]}")
    return took / many


def time_first_answers(record: Record, daemon: Daemon, n: int) -> None:
    """Time `daytime`: to ready, and a ping from there."""
    for _ in range(n):
        created, took = create_timed(daemon.client, DAYTIME, nets=NET)
        record.add("daytime", "create", took)
        (ping,) = spawn(1, "ping", "-q", "-c", "1", "-W", "10", vif_address(created))
        record.add("daytime", "first ping, command", ping)


def time_cold(record: Record, daemon: Daemon, n: int) -> None:
    """Time creates that take no shell."""
    xs = next(way for way in WAYS if way.name == "xs")
    for _ in range(n):
        for contender, create in (
            ("noxs, no vif", partial(create_timed, cold=True)),
            ("noxs", partial(create_timed, nets=NET, cold=True)),
            (xs.name, xs.create),
        ):
            settle_host()
            created, took = create(daemon.client)
            record.add(contender, "create", took)
            record.add(contender, "unpaused", until_unpaused(created))
            daemon.client.destroy(created.domain.uuid)


def time_others(record: Record, daemon: Daemon, n: int) -> None:
    """Time containers and xl, in turn with processes and creates."""
    plain, vif = xl.write_config("bench-xl", vif=False), xl.write_config("bench-xl", vif=True)
    time_crun(1)
    time_podman(1)
    for number in range(n):
        record.add("crun run", "create", *time_crun(2))
        record.add("podman run", "create", *time_podman(1))
        for contender, config in (("xl, no vif", plain), ("xl", vif)):
            settle_host()
            record.add(contender, "create", xl.create(config))
            record.add(contender, "destroy", xl.destroy("bench-xl"))
        settle_host()
        for contender, nets in ((POOLED, None), (POOLED_VIF, NET)):
            record.add(contender, "create after a pause", create_timed(daemon.client, nets=nets)[1])
        record.say(f"round {number + 1} of {n} with containers and xl")
