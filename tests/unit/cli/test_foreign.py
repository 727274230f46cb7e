"""Domains of other toolstacks on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightvm import calls, errors
from lightvm.model import ForeignDomain, State
from tests.unit.cli.conftest import Run
from tests.unit.conftest import StartDaemon
from tests.unit.samples import DOMAIN
from tests.unit.scripted import answering

THEIRS = ForeignDomain(
    name="db",
    uuid="0f6bd1a8-3a54-4c55-9d4c-0d7e3f4c2b17",
    domid=3,
    state=State.RUNNING,
    memory_kib=2097152,
    vcpus=2,
    foreign=True,
)
NAMELESS = ForeignDomain(
    uuid="0f6bd1a8-3a54-4c55-9d4c-0d7e3f4c2b18",
    domid=4,
    state=State.PAUSED,
    memory_kib=4096,
    vcpus=1,
    foreign=True,
)
FOREIGN = calls.ForeignReply(domains=(THEIRS, NAMELESS))
REFUSAL = errors.NotOurs("this domain is another toolstack's", "db")


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> str:
    """A daemon that knows one domain, and two of others."""
    script = answering(
        List=calls.ListReply(domains=(DOMAIN,)),
        Foreign=FOREIGN,
        Pause=REFUSAL,
        Unpause=REFUSAL,
        Stop=REFUSAL,
        Restart=REFUSAL,
        Destroy=REFUSAL,
    )
    return start_daemon(script).path


@pytest.fixture
def xl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `xl` that writes down what it is asked for; ``xl-does`` beside it says what else it does."""
    tool = tmp_path / "xl"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n. {tmp_path}/does\n')
    tool.chmod(0o755)
    (tmp_path / "does").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_they_are_listed_with_all(run: Run, daemon: str) -> None:
    done = run("--socket", daemon, "list", "--all")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[2] == ["db", "3", "running", "2G", "2", "(foreign)", "-", "-"]
    assert lines[3] == ["-", "4", "paused", "4M", "1", "(foreign)", "-", "-"]
    assert "foreign" not in run("--socket", daemon, "list").out
    assert run("--socket", daemon, "list", "-aq").out.split() == ["web-1", "db", "4"]
    assert '"foreign": true' in run("--socket", daemon, "list", "-a", "--format", "json").out
    table = run("--socket", daemon, "list", "-a", "--format", "csv").out.splitlines()
    assert table[2] == f"db,{THEIRS.uuid},3,running,2097152,2,,,"


@pytest.mark.parametrize("verb", ["pause", "unpause", "stop", "restart", "destroy"])
def test_they_are_refused(run: Run, daemon: str, xl: Path, verb: str) -> None:
    done = run("--socket", daemon, verb, "db")
    assert (done.code, done.out) == (1, "")
    assert done.err == "lightvm: not-ours: this domain is another toolstack's (db)\n"
    assert not (xl / "asked").exists()


@pytest.mark.parametrize(
    ("verb", "asked"),
    [
        ("pause", "pause 3"),
        ("unpause", "unpause 3"),
        ("stop", "shutdown -F -w 3"),
        ("restart", "reboot -F 3"),
        ("destroy", "destroy 3"),
    ],
)
def test_foreign_hands_them_to_xl(run: Run, daemon: str, xl: Path, verb: str, asked: str) -> None:
    assert run("--socket", daemon, verb, "--foreign", "db") == (0, "", "")
    assert (xl / "asked").read_text() == f"{asked}\n"


def test_what_xl_says_is_told(run: Run, daemon: str, xl: Path) -> None:
    (xl / "does").write_text("echo first >&2; echo no such thing >&2; exit 3")
    done = run("--socket", daemon, "destroy", "--foreign", "db")
    assert (done.code, done.err) == (1, "lightvm: xl-failed: xl destroy: no such thing (db)\n")


def test_a_guest_that_does_not_stop_is_a_time_out_and_destroyed_with_force(
    run: Run, daemon: str, xl: Path
) -> None:
    (xl / "does").write_text('[ "$1" = destroy ] || exec sleep 60')
    done = run("--socket", daemon, "stop", "--foreign", "--timeout", "0.2", "db")
    assert (done.code, "timed-out" in done.err) == (1, True)
    (xl / "asked").unlink()
    done = run("--socket", daemon, "stop", "--foreign", "--timeout", "0.2", "--force", "db")
    assert done.code == 0
    assert (xl / "asked").read_text() == "shutdown -F -w 3\ndestroy 3\n"


def test_without_xl_there_is_an_error(
    run: Run, daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("--socket", daemon, "pause", "--foreign", "db")
    assert (done.code, "xl cannot be run" in done.err) == (1, True)
