"""Fixtures for all tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from tests.native_lvm import SANITIZERS, Installed, build_lvm

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


@pytest.fixture(scope="session")
def lvm_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The native ``lvm``, under the address and undefined behaviour sanitizers."""
    return build_lvm(tmp_path_factory.mktemp("lvm") / "lvm", *SANITIZERS)


@pytest.fixture
def installed(lvm_program: Path, tmp_path: Path) -> Installed:
    """The native ``lvm``, with a ``lightvm`` beside it."""
    return Installed(lvm_program, tmp_path / "prefix")
