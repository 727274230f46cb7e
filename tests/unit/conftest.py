"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.scripted import Play, ScriptedDaemon

StartDaemon = Callable[..., ScriptedDaemon]


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Start a scripted daemon at ``tmp_path / "sock"``; what its scripts raise fails the test."""
    with ExitStack() as stack:

        def start(*plays: Play) -> ScriptedDaemon:
            return stack.enter_context(ScriptedDaemon(tmp_path / "sock", *plays))

        yield start


@pytest.fixture(autouse=True)
def _no_socket_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTVM_SOCKET", raising=False)
