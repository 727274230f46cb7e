"""A daemon for the benchmarks, beside any that runs: its pools, its network, and creates that are timed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec

import lightvm
from benchmarks.machine import guest_pool, read_field
from benchmarks.processor import dom0_share
from benchmarks.record import Budget, LeftBehindError
from lightvm.blocking import Client
from lightvm.daemon.journal import read_journal
from lightvm.daemon.tickets import MOST_TICKETS
from lightvm.errors import LightVMError, NoDaemon
from lightvm.model import Created, Mode, NetRequest, Source, WaitFor

P = ParamSpec("P")
BIN = Path(sys.executable).parent
GUESTS = Path(lightvm.__file__).parent / "guests"
NOOP, DAYTIME, ECHO = (str(GUESTS / name) for name in ("noop", "daytime", "echo"))
BRIDGE, HOST = "lvbench0", "10.79.0.1"
NET = [NetRequest(network="bench")]
MEMORY_KIB = 4096
"""Of a unikernel; in XenStore mode the daemon's own default is that of a Linux."""
STOP_SECONDS = 1800.0
"""For some 900 domains in XenStore mode it takes ten minutes in a lab: the kernel removes one vif after the other."""
DRAIN_SECONDS = 60.0
"""How long the end of a daemon waits for the next domain to be given back."""
FILL_SECONDS = 1800.0
STALL_SECONDS = 60.0
"""How long a pool that says what is wrong with it may be without a further shell."""
TICKETS_SECONDS = 300.0
RUN = "/run"
"""On tmpfs, as the state of a daemon is by default."""
WARM_UP = 40
"""Creates before the first that counts: they pay for what is done once."""
QUIET_SECONDS, QUIET_SHARE = 3.0, 0.15
"""A host is quiet when dom0 has taken no more than this share of a processor for so long."""
SETTLE_SECONDS, LONGEST_SETTLE_SECONDS = 60.0, 600.0
"""How long that is waited for where devices neither come nor go meanwhile, and in any case."""

YIELD_MS = 3_600_000
"""After the first create no shell is made for an hour: not beside what is measured, even if a pool is not full."""

NETWORK = f"""
[networks.bench]
bridge = "{BRIDGE}"
address = "{HOST}/16"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool to fill: how many shells of which shape.

    It has some more than are used: one that is empty would be filled again, in the midst of what is measured.
    """

    name: str
    shells: int
    memory_kib: int = MEMORY_KIB
    vif: bool = False
    mode: Mode = Mode.NOXS
    low: int = 1
    spare: int = 1

    @property
    def high(self) -> int:
        """How many shells there are when it is full."""
        return self.shells + self.spare

    def section(self) -> str:
        """Return its section of the configuration."""
        networks = '["bench"]' if self.vif else "[]"
        return (
            f'[flavors.{self.name}]\nmemory_kib = {self.memory_kib}\nmode = "{self.mode}"\n'
            f"networks = {networks}\nlow = {self.low}\nhigh = {self.high}\n"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One of LightVM's four ways to a domain with a vif."""

    name: str
    mode: Mode
    cold: bool

    @property
    def wait(self) -> WaitFor | None:
        """What a create can wait for: in XenStore mode a guest has no word for being ready."""
        return WaitFor.READY if self.mode is Mode.NOXS else None

    def create(self, client: Client) -> tuple[Created, float]:
        """Create a domain of as much memory as the others; return it, and how long that took in ms."""
        return create_timed(
            client,
            nets=NET,
            mode=self.mode,
            memory_kib=MEMORY_KIB if self.mode is Mode.XENSTORE else None,
            cold=self.cold,
            wait=self.wait,
        )


WAYS = (
    Way(name="noxs+split", mode=Mode.NOXS, cold=False),
    Way(name="noxs", mode=Mode.NOXS, cold=True),
    Way(name="xs+split", mode=Mode.XENSTORE, cold=False),
    Way(name="xs", mode=Mode.XENSTORE, cold=True),
)


def pools_for_all_ways(shells: int) -> tuple[Pool, Pool]:
    """Return the pools that those of the ways need which take from one."""
    return (
        Pool(name="net", shells=shells, vif=True),
        Pool(name="xs", shells=shells, vif=True, mode=Mode.XENSTORE),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon that runs, and a client of it."""

    socket: str
    client: Client
    pid: int

    def memory_kib(self) -> int:
        """Return how much memory its process has that is not of any file, as its journal is."""
        return int(read_field(f"/proc/{self.pid}/status", "RssAnon", ":").removesuffix("kB"))

    def fill(self, *pools: Pool) -> None:
        """Wait until pools are full; raises `TimeoutError` where that takes too long for any measurement."""
        for pool in pools:
            if self.fill_within(pool, Budget(FILL_SECONDS)) < pool.shells:
                raise TimeoutError(f"the pool {pool.name} is not full after {FILL_SECONDS:.0f} s")
        settle_host()

    def fill_within(self, pool: Pool, budget: Budget) -> int:
        """Wait until a pool is full, or as full as the time allows; return how many shells may be used.

        Raises why there are no more where none has come for a while: what fails now and then is tried again.
        """
        most, stall = -1, budget
        while True:
            (now,) = (each for each in self.client.pool_status() if each.flavor == pool.name)
            if now.shells >= pool.high or budget.is_over:
                return max(0, now.shells - pool.spare)
            if now.shells > most:
                most, stall = now.shells, Budget(STALL_SECONDS)
            elif now.last_error and stall.is_over:
                raise LightVMError(f"{pool.name}: {now.last_error}")
            time.sleep(0.5)

    def clear(self) -> None:
        """Destroy all domains, and forget those that have ended."""
        for domain in self.client.list(all=True):
            self.client.destroy(domain.uuid, missing_ok=True, wait=True)


@contextmanager
def open_daemon(*pools: Pool, yield_ms: int = YIELD_MS, more: str = "") -> Iterator[Daemon]:
    """Run a daemon with a network and these pools, which it begins to fill; at the end nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="lightvm-bench-", dir=RUN) as directory:
        socket = f"{directory}/lightvm.sock"
        config = Path(directory) / "lightvm.toml"
        sections = "".join(pool.section() for pool in pools or (Pool(name="none", shells=1),))
        config.write_text(
            f'[daemon]\nsocket = "{socket}"\nstate_dir = "{directory}/state"\n'
            f"drain_seconds = {DRAIN_SECONDS}\n"
            f"[limits]\nready_seconds = 300.0\ncreate_seconds = 300.0\n"
            f'[pool]\nyield_ms = {yield_ms}\n[scheduling]\ncpupool = "{guest_pool()}"\n'
            f"{NETWORK}{sections}{more}"
        )
        with (Path(directory) / "log").open("w+b") as log:
            command = [str(BIN / "lightvmd"), "--config", str(config)]
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                wait_until(lambda: _answers(socket, process, log.name), "the daemon answers", 120.0)
                with Client(socket) as client:
                    running = Daemon(socket=socket, client=client, pid=process.pid)
                    try:
                        yield running
                    finally:
                        running.clear()
            finally:
                end(process, Path(directory) / "state" / "journal")
                subprocess.run(["ip", "link", "delete", BRIDGE], check=False)


def end(process: subprocess.Popen[bytes], journal: Path) -> None:
    """Have a daemon give back what it has, and end; raises `LeftBehindError` where it does not, or not all."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except Exception as exc:
        raise LeftBehindError("the daemon has not ended") from exc
    past = read_journal(journal)
    if left := len(past.shells) + len(past.domains):
        raise LeftBehindError(f"domains and shells that the daemon has left: {left}")


@contextmanager
def open_bridge() -> Iterator[None]:
    """Have the network's bridge for others: a daemon makes it for the first shell in it."""
    pool = Pool(name="bridge", shells=1, vif=True)
    with open_daemon(pool) as daemon:
        daemon.fill(pool)
        yield


def settle_host() -> None:
    """Wait until the host is quiet, for a while at most.

    Neither a daemon nor the kernel has done all that ends have left to it when the last of them is acknowledged, and
    udev, which looks at each device that comes or goes, is long behind.
    """
    subprocess.run(["udevadm", "settle", f"--timeout={FILL_SECONDS:.0f}"], check=False)
    most = Budget(LONGEST_SETTLE_SECONDS)
    budget, before = most.part(SETTLE_SECONDS), list_devices()
    while dom0_share(QUIET_SECONDS) > QUIET_SHARE and not budget.is_over:
        if (now := list_devices()) != before:
            budget, before = most.part(SETTLE_SECONDS), now


def list_devices() -> set[str]:
    """Return the names of all network devices."""
    return set(os.listdir("/sys/class/net"))


def wait_until(reached: Callable[[], bool], what: str, seconds: float) -> None:
    """Poll until a condition holds; raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)


def timed(work: Callable[P, object], *arguments: P.args, **more: P.kwargs) -> float:
    """Return how long a call takes, in ms."""
    begun = time.perf_counter()
    work(*arguments, **more)
    return (time.perf_counter() - begun) * 1e3


def create_timed(
    client: Client,
    image: str = NOOP,
    *,
    nets: Sequence[NetRequest] | None = None,
    mode: Mode | None = None,
    memory_kib: int | None = None,
    cold: bool = False,
    wait: WaitFor | None = WaitFor.READY,
) -> tuple[Created, float]:
    """Create a domain; return it, and how long that took in ms, from the call to the reply.

    The call is that of whoever names no more than this: what is ready for the one is ready for the other.

    Raises `RuntimeError` where a domain that should come from the pool did not.
    """
    begun = time.perf_counter()
    created = client.create(
        image, nets=nets, mode=mode, memory_kib=memory_kib, cold=cold or None, wait=wait
    )
    took = (time.perf_counter() - begun) * 1e3
    if created.source is not (Source.COLD if cold else Source.POOL):
        raise RuntimeError(f"the create was {created.source}, which is not what was to be measured")
    return created, took


def warm_up(
    client: Client, n: int = WARM_UP, *, vif: bool = False, mode: Mode | None = None
) -> None:
    """Create from the pool, and destroy again, without counting; then the pool is ready for more of the same.

    In two parts: after the first there are tickets, so that the second goes the way that is to be measured.
    """
    nets = NET if vif else None
    wait = None if mode is Mode.XENSTORE else WaitFor.READY
    for part in (n - n // 2, n // 2):
        made = [create_timed(client, nets=nets, mode=mode, wait=wait)[0] for _ in range(part)]
        for each in made:
            client.destroy(each.domain.uuid)
        settle_host()
        await_tickets(client)


def await_tickets(client: Client) -> None:
    """Wait until each shell of a pool that has tickets has one; raises `TimeoutError`."""
    budget = Budget(TICKETS_SECONDS)
    while any(0 < p.tickets < min(p.shells, MOST_TICKETS) for p in client.pool_status()):
        if budget.is_over:
            raise TimeoutError(f"not every shell has its ticket after {TICKETS_SECONDS:.0f} s")
        time.sleep(0.5)


def until_unpaused(created: Created) -> float:
    """Return how long it took from the request to the unpause, in ms by the daemon's clock."""
    phases = created.phases
    return (phases.prepare_us + phases.load_us + phases.journal_us + phases.unpause_us) / 1000


def vif_address(created: Created) -> str:
    """Return the address of a domain's vif."""
    (vif,) = created.domain.vifs
    assert vif.ipv4 is not None
    return vif.ipv4.partition("/")[0]


def _answers(socket: str, process: subprocess.Popen[bytes], log: str) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"lightvmd has ended: {Path(log).read_text()[-2000:]}")
    try:
        Client(socket).close()
    except NoDaemon:
        return False
    return True
