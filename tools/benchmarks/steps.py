"""What each step of a pooled create costs, in instructions or in time: the budget of `docs/performance.md`.

The functions of the hot path are wrapped while a create is served. A step's own cost is that of its function
without those of the steps inside it, and without what counting itself costs.
"""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from statistics import median
from typing import Any

STEPS = {
    "the call is decoded": ("lightvm.wire:decode_call", "lightvm.wire:decode_parameters"),
    "the request is checked": ("lightvm.daemon.understanding:check_request",),
    "the image is looked up, and its file looked at": (
        "lightvm.daemon.images:ImageCache.get",
        "lightvm.daemon.images:ImageCache.get_nowait",
    ),
    "a wish is made of the request": (
        "lightvm.daemon.understanding:Understanding.recall",
        "lightvm.daemon.understanding:Understanding.find",
        "lightvm.daemon.understanding:make_wish",
    ),
    "a name": ("lightvm.daemon.domains:Registry.reserve",),
    "a shell and its addresses are taken": ("lightvm.daemon.creator:Creator._take",),
    "what is copied into the shell is put together, and undo": (
        "lightvm.daemon.creator:Creator.begin",
    ),
    "load: here a fake, on Xen one call into C": ("lightvm.xen.fake:FakeHypervisor.load",),
    "the record is made, the domain entered": (
        "lightvm.daemon.creator:Creator._finish",
        "lightvm.daemon.creator:Creator._make",
        "lightvm.daemon.lifecycle:Lifecycle.enter",
        "lightvm.daemon.housekeeping:Housekeeper.settle_later",
    ),
    "the record is journalled": ("lightvm.daemon.journal:Journal.append",),
    "unpause: here a fake, on Xen one hypercall": ("lightvm.xen.fake:FakeHypervisor.unpause",),
    "it is waited for the guest": (
        "lightvm.daemon.spinner:Spinner.spin",
        "lightvm.daemon.lifecycle:Lifecycle.hear_control",
    ),
    "the domain is described": (
        "lightvm.daemon.creator:Creator.complete",
        "lightvm.daemon.domains:LiveDomain.describe",
        "lightvm.daemon.stopwatch:Stopwatch.phases",
    ),
    "the reply is encoded": ("lightvm.wire:encode_reply",),
    "the rest of the connection's task": ("lightvm.daemon.server:Connection._answer",),
}
"""Names of steps, and the functions that make them up; the last has all the others inside."""

CALIBRATION = 200


class Ledger:
    """What functions cost, each without what is inside."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._inside: list[int] = []
        self._calls = 0
        self.spent: dict[str, int] = defaultdict(int)
        self.inner, self.outer = 0, 0
        """What counting adds to a function's own cost, and to that of the function around it."""
        self.cost = 0
        """What counting has cost altogether between the last two times that somebody took what was spent."""

    def enter(self) -> int:
        """Begin a function; returns the reading."""
        self._inside.append(0)
        self._calls += 1
        return self._read()

    def leave(self, name: str, begun: int) -> None:
        """End a function."""
        whole = self._read() - begun
        inside = self._inside.pop()
        self.spent[name] += whole - inside - self.inner
        if self._inside:
            self._inside[-1] += whole + self.outer

    def take(self) -> dict[str, int]:
        """Return what was spent since the last time."""
        spent, self.spent = dict(self.spent), defaultdict(int)
        self.cost, self._calls = self._calls * (self.inner + self.outer), 0
        return spent

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, counted."""
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def counted_task(*args: Any, **kwargs: Any) -> Any:
                begun = self.enter()
                try:
                    return await function(*args, **kwargs)
                finally:
                    self.leave(name, begun)

            return counted_task

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            begun = self.enter()
            try:
                return function(*args, **kwargs)
            finally:
                self.leave(name, begun)

        return counted

    def calibrate(self) -> None:
        """Measure what counting costs."""
        inner = self.wrap("inner", lambda: None)

        def call() -> None:
            for _ in range(CALIBRATION):
                inner()

        call()
        self.take()
        begun = self._read()
        call()
        whole = self._read() - begun
        self.inner = self.take()["inner"] // CALIBRATION
        self.outer = whole // CALIBRATION - self.inner


@contextmanager
def counted_steps(read: Callable[[], int]) -> Iterator[Ledger]:
    """Wrap the functions of all steps for a while; yields where their costs are noted."""
    ledger = Ledger(read)
    ledger.calibrate()
    replaced = []
    try:
        for step, places in STEPS.items():
            for place in places:
                module, _, path = place.partition(":")
                owner: Any = importlib.import_module(module)
                *outer, name = path.split(".")
                for each in outer:
                    owner = getattr(owner, each)
                function = getattr(owner, name)
                replaced.append((owner, name, function))
                setattr(owner, name, ledger.wrap(step, function))
        yield ledger
    finally:
        for owner, name, function in reversed(replaced):
            setattr(owner, name, function)


def medians(rounds: list[dict[str, int]]) -> dict[str, float]:
    """Return the median of each step."""
    return {step: median(each.get(step, 0) for each in rounds) for step in STEPS}
