"""Fixtures for all tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import pytest
import trio

T = TypeVar("T")

with contextlib.suppress(ImportError):  # the tests for a dom0 do without
    import hypothesis

    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")


@pytest.fixture
def threadless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do at once what would be done in a worker thread.

    A mock clock that jumps whenever all tasks wait would also jump while a thread works.
    """

    async def run_sync(
        function: Callable[..., T],
        *args: object,
        thread_name: str | None = None,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
