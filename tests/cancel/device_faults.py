"""Failures of the host below devices: XenStore, bridges and loop devices."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lightvm.errors import DiskFailed, LinkFailed
from tests.host import Host


@contextmanager
def failing(host: Host, first: int, count: int) -> Iterator[list[str]]:
    """Let so many steps fail from the one of that number on; yields the steps that were taken, by name."""
    taken: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def fuss(thing: object, names: str, error: Exception) -> None:
            for name in names.split():
                step = _failing(
                    getattr(thing, name), name, error, taken, range(first, first + count)
                )
                patch.setattr(thing, name, step)

        fuss(host.store, "write remove read children", OSError("injected"))
        fuss(host.ports, "add_port has", LinkFailed("injected"))
        fuss(host.filters, "add bind forget", LinkFailed("injected"))
        fuss(host.loops, "add bind remove sweep", DiskFailed("injected"))
        yield taken


def _failing(
    step: Callable[..., Any], name: str, error: Exception, taken: list[str], failing: range
) -> Callable[..., Any]:
    @functools.wraps(step)
    def fussy(*args: Any, **named: Any) -> Any:
        taken.append(name)
        if len(taken) - 1 in failing:
            raise error
        return step(*args, **named)

    return fussy
