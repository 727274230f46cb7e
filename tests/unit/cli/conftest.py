"""Fixtures of the command line's tests."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import pytest

from lightvm.cli.main import main


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Run ``lightvm`` with some arguments, in this process."""

    def __call__(self, *args: object) -> Done:
        """Return what it left behind."""


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``lightvm`` with some arguments, in this process."""

    def run_lightvm(*args: object) -> Done:
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as exc:  # argparse: help and usage errors
            code = exc.code if isinstance(exc.code, int) else 1
        return Done(code, *capfd.readouterr())

    return run_lightvm
