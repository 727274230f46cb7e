"""Whether it pays to look at a new guest for a moment before waiting for its event."""

from __future__ import annotations

import time

from lightvm.xen.hypervisor import Handle, Hypervisor

LEAST_US, MOST_US = 100, 5000
"""For so many microseconds is a guest looked at, where it is at all."""
PARTS_OF_A_MOMENT = 4

_now = time.perf_counter_ns


def fit_spin(microseconds: int, moment: float, processors: int) -> int:
    """Return for how many microseconds to look at a guest at most, given how many on a machine that is not slow.

    On one where a moment of attention, in seconds, is long, guests take longer too. Where there is one processor, no
    guest runs while somebody looks at it.
    """
    if not microseconds or processors == 1:
        return 0
    return max(microseconds, min(int(moment * 1e6) // PARTS_OF_A_MOMENT, MOST_US))


class Spinner:
    """Decides when it pays to look at a new guest's control page for a moment instead of waiting for its event.

    A quick guest is ready before the event loop would have gone to sleep. A guest that is not quick costs every
    other caller that moment, so after a few misses only one create in `SPARSE` still tries. Nor is a guest looked at
    for much longer than others took: it may be waiting for the very processor on which it is looked at.
    """

    MISSES, SPARSE = 4, 32
    TIMES = 2
    """So many times as long as usual is a guest looked at."""
    INERTIA = 8
    """One guest moves what is usual by so small a part of the difference."""

    def __init__(self, hypervisor: Hypervisor, most_us: int) -> None:
        self._hypervisor = hypervisor
        self._most_us = most_us
        self._usual_us = float(most_us)
        """How long quick guests take; more while guests are late."""
        self._misses = 0

    @property
    def budget(self) -> int:
        """For how many microseconds to look at the next guest: none where several were not quick, but now and then."""
        tries = self._misses < self.MISSES or self._misses % self.SPARSE == 0
        return self._patience_us() if tries else 0

    def pays(self) -> bool:
        """Whether to look at the next guest; if so, `spin` is to follow."""
        if self.budget:
            return True
        self._misses += 1
        return False

    def spin(self, handle: Handle) -> int:
        """Look at a guest; return what `Hypervisor.spin_control` does."""
        begun = _now()
        heard = self._hypervisor.spin_control(handle, self._patience_us())
        self.note(quick=heard > 0, took_ns=heard - begun)
        return heard

    def note(self, *, quick: bool, took_ns: int | None = None) -> None:
        """Note whether a guest was ready within the moment, and after how long, where that is known."""
        if not quick:
            self._misses += 1
            self._usual_us = self._patience_us()  # it was not
            return
        self._misses = 0
        if took_ns is not None:
            self._usual_us += (took_ns / 1000 - self._usual_us) / self.INERTIA

    def _patience_us(self) -> int:
        return min(max(int(self.TIMES * self._usual_us), LEAST_US), self._most_us)
