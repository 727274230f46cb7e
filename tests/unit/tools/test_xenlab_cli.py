"""The command line: one line for an error, and the right exit code."""

from __future__ import annotations

import json
import os
import signal

import pytest
from xenlab import cli, interrupts, verbs
from xenlab.errors import LabError
from xenlab.interrupts import Interrupted, deferred_signals


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTVM_CACHE", str(tmp_path))
    previous = {signum: signal.getsignal(signum) for signum in interrupts.STOPPING}
    yield tmp_path
    for signum, handler in previous.items():
        signal.signal(signum, handler)


def run(*arguments):
    try:
        return cli.main(list(arguments))
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-verb"],
        ["up", "--suite", "potato"],
        ["up", "--cpus", "0"],
        ["up", "--memory", "lots"],
        ["up", "--name", "a/b"],
        ["exec"],
        ["push", "only-one"],
        ["logs", "other"],
    ],
)
def test_wrong_usage_is_code_2(arguments, capsys):
    assert run(*arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["exec", "true"], ["shell"], ["push", "a", "b"], ["pull", "a", "b"], ["install"], ["logs"]],
)
def test_a_lab_that_does_not_run_is_one_line_and_code_1(arguments, capsys):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("lab: not-running: ")
    assert error.count("\n") == 1


def test_ending_what_does_not_run_is_done():
    assert run("down") == 0
    assert run("down", "--all") == 0


def test_status_is_readable_for_programs_too(capsys):
    assert run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run("status") == 0
    assert "no lab" in capsys.readouterr().out


def test_a_lab_without_a_record_is_reported_dead_and_cleaned(cache, capsys):
    (cache / "labs" / "torn").mkdir(parents=True)
    assert run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "torn", "state": "dead"}]
    assert run("down", "--name", "torn") == 0
    assert not (cache / "labs" / "torn").exists()


def test_a_signal_unwinds_the_command(monkeypatch, capsys):
    unwound = []

    def build(options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 5)
        finally:
            # A second signal must not disturb this.
            os.kill(os.getpid(), signal.SIGINT)
            unwound.append(True)

    monkeypatch.setattr(verbs, "build", build)
    assert run("build") == 1
    assert unwound == [True]
    assert capsys.readouterr().err.startswith("lab: interrupted: SIGTERM")


def test_a_deferred_signal_comes_after_the_block():
    interrupts.unwind_on_signals()
    reached = []
    with pytest.raises(Interrupted):
        with deferred_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("end of the block")
    assert reached == ["end of the block"]


def test_a_block_without_signals_changes_nothing():
    before = signal.getsignal(signal.SIGINT)
    with deferred_signals():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_of_the_lab_is_printed_with_its_code(monkeypatch, capsys):
    def build(options):
        raise LabError("some-code", "some words")

    monkeypatch.setattr(verbs, "build", build)
    assert run("build") == 1
    assert capsys.readouterr().err == "lab: some-code: some words\n"
