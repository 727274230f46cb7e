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

TURNS = 2
"""In a round: the speed of a shared machine changes within minutes, and is to be the same for all that is compared."""
SPAWNED = 5
"""How many processes come one right after the other."""
FEW, SPARE = 5, 40
"""How many ends are timed by themselves in a round, and how many shells are for single creates beside xl."""
PAUSE_SECONDS = 1.0
"""Between ends that are timed by themselves: then what one leaves to the background is done."""
COMMANDS = {"lvm": 3, "lightvm": 1}
"""How often each is run in a round."""
POOLED, POOLED_VIF = "noxs+split, no vif", "noxs+split"
KINDS = ((POOLED, None), (POOLED_VIF, NET))
BATCHES = {POOLED: 1, POOLED_VIF: 2}
"""In a turn; there is one more before all, which pays for what a daemon does in its first batch only."""

Nets = Sequence[NetRequest] | None
Taken = list[tuple[str, str, list[float]]]
"""Contender, metric, and values in ms: written down when a round is over, since writing is work for dom0, too."""


def measure(record: Record) -> None:
    """Measure all of it.

    A row is of two hundred, so that its first create, which is one after a pause, is not the 99th percentile.
    """
    rounds, each, many = record.pick(small=(2, 32, 20), paper=(2, 400, 100))
    run_round(TURNS, FEW)  # an emulator is slow at what it does for the first time
    for number in range(rounds):
        for contender, metric, values in run_round(each, many):
            record.add(contender, metric, *values)
        record.say(f"round {number + 1} of {rounds}")
    with open_warm(SPARE, SPARE) as daemon:
        time_first_answers(record, daemon, record.pick(small=3, paper=10))
        time_cold(record, daemon, record.pick(small=3, paper=10))
        time_others(record, daemon, record.pick(small=2, paper=5))


@contextmanager
def open_warm(without: int, with_vif: int) -> Iterator[Daemon]:
    """Run a daemon that has so many shells of each kind to spare, and has made creates from them before."""
    plain = Pool(name="plain", shells=WARM_UP + without)
    net = Pool(name="net", shells=WARM_UP + with_vif, vif=True)
    with open_daemon(plain, net) as daemon:
        daemon.fill(plain, net)
        warm_up(daemon.client)
        warm_up(daemon.client, vif=True)
        yield daemon


def run_round(each: int, many: int) -> Taken:
    """Time processes, so many creates without and with a vif, their ends, and many in one call, in turn."""
    taken: Taken = []
    single = each + 2 * FEW + sum(COMMANDS.values())
    shells = [single + (1 + TURNS * BATCHES[contender]) * many for contender, _ in KINDS]
    with open_warm(*shells) as daemon:
        for _, nets in KINDS:
            time_many(daemon.client, many, nets)
        for turn in range(TURNS):
            taken += time_processes()
            # Which comes first alternates: a vif leaves work to the background, also to that of what comes after.
            for contender, nets in reversed(KINDS) if turn % 2 else KINDS:
                taken += time_row(daemon.client, contender, nets, each // TURNS)
                batches = BATCHES[contender]
                took = [time_many(daemon.client, many, nets) for _ in range(batches)]
                taken.append((contender, "create of many", took))
        for contender, nets in KINDS:
            taken += time_ends(daemon.client, contender, nets)
        for command, times in COMMANDS.items():
            line = [str(BIN / command), "create", NOOP, "--wait", "ready"]
            took = spawn(times, *line, "--socket", daemon.socket)
            taken.append((f"{command} create", "create", took))
        taken.append((YARDSTICK, "create", spawn(SPAWNED, TRUE)))
    return taken


def time_processes() -> Taken:
    """Time processes of three kinds, one right after the other."""
    settle_host()
    return [
        (YARDSTICK, "create", spawn(SPAWNED, TRUE)),
        (f"{YARDSTICK}, static", "create", spawn(SPAWNED, compile_program("resident"))),
        (f"{YARDSTICK}, fixed addresses", "create", spawn(SPAWNED, TRUE, fixed=True)),
    ]


def time_row(client: Client, contender: str, nets: Nets, many: int) -> Taken:
    """Time creates one right after the other, and then their ends."""
    settle_host()
    created = [create_timed(client, nets=nets) for _ in range(many)]
    settle_host()
    ends = [timed(client.destroy, one.domain.uuid) for one, _ in created]
    return [(contender, "create", [ms for _, ms in created]), (contender, "destroy", ends)]


def time_ends(client: Client, contender: str, nets: Nets) -> Taken:
    """Time ends by themselves: in turn whole ones, and the acknowledgements of others."""
    uuids = [create_timed(client, nets=nets)[0].domain.uuid for _ in range(2 * FEW)]
    settle_host()
    whole, paused = [], []
    for one, other in zip(uuids[:FEW], uuids[FEW:], strict=True):
        whole.append(timed(client.destroy, one, wait=True))
        time.sleep(PAUSE_SECONDS)
        paused.append(timed(client.destroy, other))
        time.sleep(PAUSE_SECONDS)
    return [
        (contender, "destroy, all", whole),
        (contender, "destroy after a pause", paused),
    ]


def time_many(client: Client, many: int, nets: Nets) -> float:
    """Create so many in one call, which is another than those before; return what that took for each, in ms."""
    request = CreateRequest(
        image=NOOP, nets=None if nets is None else tuple(nets), wait=WaitFor.READY
    )
    settle_host()
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
