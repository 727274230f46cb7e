"""Many clients at once, each of which creates one domain after the other; and random arrivals against a small pool.

The clients of a storm are processes of a few lines in C: dom0 of a lab has one processor, and what a client costs is
measured, too. Those that arrive are tasks of one process, over the trio client: what an orchestrator would be.
"""

from __future__ import annotations

import random
import time

import trio

from benchmarks.daemon import (
    NOOP,
    WARM_UP,
    Pool,
    await_tickets,
    open_daemon,
    settle_host,
    warm_up,
)
from benchmarks.programs import compile_program, run_program
from benchmarks.record import Record
from lightvm.calls import CREATE, VERSION, CreateCall, Nothing
from lightvm.client import open_client
from lightvm.model import CreateRequest, Source, WaitFor
from lightvm.wire import encode_call

CLIENTS = (1, 8, 32, 128)
ROUNDS = 3
"""Of the storms: a storm is over in half a second, and the machine is not always equally fast."""
SEED = 2017
RATE = 8.0
"""Arrivals a second, on average."""
MEMORY_KIB = 4096
YIELD_MS = 20
"""The daemon's own default: here the refilling is what is looked at."""
POOL_SIZES = (1, 4, 16, 64)


def measure(record: Record) -> None:
    """Measure storms, then arrivals."""
    for _ in range(record.pick(small=1, paper=ROUNDS)):
        measure_storms(record, record.pick(small=128, paper=256))
    for size in record.pick(small=(2, 16), paper=POOL_SIZES):
        measure_arrivals(record, size, record.pick(small=30, paper=150))


def measure_storms(record: Record, creates: int) -> None:
    """Time creates by so many clients at once, and how many there are a second; half as many before do not count."""
    pool = Pool(name="plain", shells=creates + creates // 2 + WARM_UP)
    for clients in CLIENTS:
        with open_daemon(pool) as daemon:
            daemon.fill(pool)
            warm_up(daemon.client)
            storm(daemon.socket, clients, creates // 2)
            daemon.clear()
            settle_host()
            await_tickets(daemon.client)
            took, seconds = storm(daemon.socket, clients, creates)
            contender = f"{clients} clients" if clients > 1 else "1 client"
            record.add(contender, "create", *took, running=clients)
            record.add(contender, "throughput", creates / seconds, unit="1/s", running=clients)
            record.say(contender)


def storm(socket: str, clients: int, creates: int) -> tuple[list[float], float]:
    """Create domains by so many clients; return how long each took in ms, and all in s.

    Each has been answered before the clock starts.
    """
    create = CreateCall(request=CreateRequest(image=NOOP, wait=WaitFor.READY))
    calls = (encode_call(VERSION, Nothing()), encode_call(CREATE, create))
    took, *each = run_program(
        compile_program("storm"),
        *(socket, str(clients), str(creates)),
        *(call.rstrip(b"\0").decode() for call in calls),
        f'"source":"{Source.POOL.value}"',
    )
    return each, took / 1e3


def measure_arrivals(record: Record, size: int, arrivals: int) -> None:
    """Time creates that arrive at random, by where they came from, while the daemon refills its pool."""
    pool = Pool(name="plain", shells=size, low=size, spare=0)
    with open_daemon(pool, yield_ms=YIELD_MS) as daemon:
        daemon.fill(pool)
        outcomes = trio.run(arrive, daemon.socket, arrivals)
    for source, contender in ((Source.POOL, "hit"), (Source.COLD, "miss")):
        took = [ms for came_from, ms in outcomes if came_from is source]
        record.add(contender, "create", *took, running=size)
    hits = sum(came_from is Source.POOL for came_from, _ in outcomes)
    record.add("hit", "share", 100 * hits / arrivals, unit="%", running=size)
    record.say(f"pool of {size}: {hits} of {arrivals} creates had a shell")


async def arrive(socket: str, arrivals: int) -> list[tuple[Source, float]]:
    """Create domains at random moments, each destroyed when it is ready; return where they came from, and the ms."""
    outcomes: list[tuple[Source, float]] = []
    moments = random.Random(SEED)  # noqa: S311 (the same arrivals in each run)

    async def create() -> None:
        begun = time.perf_counter()
        created = await client.create(NOOP, memory_kib=MEMORY_KIB, wait=WaitFor.READY)
        outcomes.append((created.source, (time.perf_counter() - begun) * 1e3))
        await client.destroy(created.domain.uuid)

    async with open_client(socket) as client, trio.open_nursery() as nursery:
        for _ in range(arrivals):
            nursery.start_soon(create)
            await trio.sleep(moments.expovariate(RATE))
    return outcomes
