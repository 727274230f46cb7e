"""Whether it pays to look at a new guest for a moment before waiting for its event."""

from __future__ import annotations

from lightvm.xen.hypervisor import Handle, Hypervisor

MOST_US = 5000
PARTS_OF_A_MOMENT = 4


def fit_spin(microseconds: int, moment: float, processors: int) -> int:
    """Return for how many microseconds to look at a guest, given how long that should be on a machine that is not slow.

    On one where a moment of attention, in seconds, is long, guests take longer too. Where there is one processor, no
    guest runs while somebody looks at it.
    """
    if not microseconds or processors == 1:
        return 0
    return max(microseconds, min(int(moment * 1e6) // PARTS_OF_A_MOMENT, MOST_US))


class Spinner:
    """Decides when it pays to look at a new guest's control page for a moment instead of waiting for its event.

    A quick guest is ready before the event loop would have gone to sleep. A guest that is not quick costs every
    other caller that moment, so after a few misses only one create in `SPARSE` still tries.
    """

    MISSES, SPARSE = 4, 32

    def __init__(self, hypervisor: Hypervisor, microseconds: int) -> None:
        self._hypervisor = hypervisor
        self.microseconds = microseconds
        """How long a moment is."""
        self._misses = 0

    @property
    def budget(self) -> int:
        """For how many microseconds to look at the next guest: none where several were not quick, but now and then."""
        tries = self._misses < self.MISSES or self._misses % self.SPARSE == 0
        return self.microseconds if tries else 0

    def pays(self) -> bool:
        """Whether to look at the next guest; if so, `spin` is to follow."""
        if self.budget:
            return True
        self._misses += 1
        return False

    def spin(self, handle: Handle) -> int:
        """Look at a guest; return what `Hypervisor.spin_control` does."""
        heard = self._hypervisor.spin_control(handle, self.microseconds)
        self.note(quick=heard > 0)
        return heard

    def note(self, *, quick: bool) -> None:
        """Note whether a guest was ready within the moment."""
        self._misses = 0 if quick else self._misses + 1
