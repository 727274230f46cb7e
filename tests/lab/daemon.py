"""A real `lightvmd` on real Xen, as a process of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

import lightvm
from lightvm.blocking import Client
from lightvm.errors import NoDaemon

BIN = Path(sys.executable).parent
GUESTS = Path(lightvm.__file__).parent / "guests"
NOOP, HELLO, MISBEHAVE = (str(GUESTS / name) for name in ("noop", "hello", "misbehave"))
DAYTIME = str(GUESTS / "daytime")
PATIENCE = 60.0
SHELL_SECONDS = 5.0
"""How long a shell may take to make, on a slow machine that emulates another."""


Counted = Callable[[], Set[str]]
"""Says what there is of a kind on this host."""


def eventually(
    reached: Callable[[], bool],
    what: str,
    seconds: float = PATIENCE,
    *,
    counted: Counted = frozenset,
) -> float:
    """Wait until a condition holds; return how long that took, in seconds. A failure says what is `counted` then."""
    begun = time.monotonic()
    while not reached():
        if time.monotonic() - begun >= seconds:
            raise AssertionError(f"not within {seconds} s: {what} {sorted(counted()) or ''}")
        time.sleep(0.05)
    return time.monotonic() - begun


class DaemonProcess:
    """One daemon with a state directory of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        low: int = 12,
        high: int = 12,
        more: str = "",
        held: Sequence[Counted] = (),
    ) -> None:
        self.socket = str(directory / "lightvm.sock")
        self.log = directory / "daemon.log"
        self.config = directory / "lightvm.toml"
        self.high = high
        self.config.write_text(
            f'[daemon]\nsocket = "{self.socket}"\nstate_dir = "{directory}/state"\n'
            f'log_level = "debug"\nlog_format = "json"\n'
            f"[limits]\nready_seconds = 60.0\n"
            f"[flavors.tiny]\nmemory_kib = 4096\nlow = {low}\nhigh = {high}\n"
            f"{more}"
        )
        self.others = xl_list().keys()
        """Domains that are none of this daemon's."""
        self.held = held
        """What there is one of for each shell with devices."""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until the daemon answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "lightvmd", "--config", self.config], stdout=log, stderr=log
            )
        eventually(self.answers, f"daemon answers; see {self.log}:\n{self.log.read_text()}")

    def answers(self) -> bool:
        """Whether the daemon answers a call."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            with Client(self.socket) as client:
                client.version()
        except NoDaemon:
            return False
        return True

    def wait_full(self) -> None:
        """Wait until the pool is full."""
        with Client(self.socket) as client:
            eventually(
                lambda: all(p.last_error or p.shells == p.high for p in client.pool_status()),
                "the pools are full",
                180 + SHELL_SECONDS * sum(p.high for p in client.pool_status()),
            )

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End the daemon at once, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """End the daemon in order."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(PATIENCE) == 0, self.log.read_text()[-4000:]


@contextmanager
def beside(
    main: DaemonProcess, directory: Path, *, high: int, more: str, held: Sequence[Counted] = ()
) -> Iterator[DaemonProcess]:
    """Run a daemon beside another, whose pool stays full meanwhile; at the end nothing may be held."""
    main.wait_full()
    process = DaemonProcess(directory, low=high, high=high, more=more, held=held)
    process.start()
    try:
        process.wait_full()
        yield process
    finally:
        process.stop()
    left = [sorted(things) for count in held if (things := count())]
    assert not left, left


def nodes(kind: str) -> set[str]:
    """Return the domains that have back-ends of a kind in XenStore."""
    done = subprocess.run(
        ["xenstore-list", f"/local/domain/0/backend/{kind}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return set(done.stdout.split())


def command(*arguments: str, socket: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the `lightvm` command."""
    done = subprocess.run(
        [BIN / "lightvm", "--socket", socket, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def xl_list() -> dict[int, str]:
    """Return the domains that `xl list` shows, dom0 left out: domid to name."""
    lines = subprocess.run(["xl", "list"], capture_output=True, text=True, timeout=120, check=True)
    rows = (line.split() for line in lines.stdout.splitlines()[1:])
    return {int(row[1]): row[0] for row in rows if row[1] != "0"}


def assert_nothing_leaked(
    client: Client, others: Set[int] = frozenset(), seconds: float = PATIENCE
) -> None:
    """Check that the doctor finds nothing, once what goes on in the background is done.

    `others` are domains that are none of ours.
    """

    def bad() -> list[str]:
        return [str(f) for f in client.doctor() if f.verdict in ("leaked", "missing")]

    def agrees() -> bool:
        known = {d.domid for d in client.list()}
        return len(xl_list().keys() - others) == len(known) + sum(
            pool.shells for pool in client.pool_status()
        )

    eventually(lambda: not bad(), "no leak", seconds)
    eventually(agrees, "xl lists what we know, and no more", seconds)
