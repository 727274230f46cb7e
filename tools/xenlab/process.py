"""Processes that outlive the command which started them: identity, signals, bounded waits."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process named so that a recycled pid is never taken for it.

    `start_ticks` is field 22 of /proc/<pid>/stat: the start time in clock ticks since boot.
    """

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the identity of a running `pid`, or None if it has ended."""
        ticks = read_start_ticks(pid)
        return None if ticks is None else cls(pid=pid, start_ticks=ticks)

    def is_alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        return read_start_ticks(self.pid) == self.start_ticks

    def end(self, *, grace: float = 5.0) -> None:
        """Terminate the process, kill it after `grace` seconds, and wait until it is gone."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The descriptor pins the process, so the check cannot be overtaken by a new pid.
            if not self.is_alive():
                return
            for signum, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
                try:
                    signal.pidfd_send_signal(pidfd, signum)
                except ProcessLookupError:
                    return
                if select.select([pidfd], [], [], patience)[0]:
                    return
        finally:
            os.close(pidfd)

    def wait_gone(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the end of the process; tell whether it came."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            return not self.is_alive() or bool(select.select([pidfd], [], [], timeout)[0])
        finally:
            os.close(pidfd)


def read_start_ticks(pid: int) -> int | None:
    """Return the start time of `pid` in clock ticks since boot, None for a dead process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name, in parentheses, may itself hold blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
