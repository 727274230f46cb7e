"""``lightvm service``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightvm import calls, errors
from tests.unit.cli.conftest import Run
from tests.unit.conftest import StartDaemon
from tests.unit.scripted import ScriptedDaemon, answering

NEEDED = ("--image", "/k", "--network", "lan", "--addresses", "10.0.0.2")


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> ScriptedDaemon:
    """A daemon that adds and removes services."""
    return start_daemon(
        answering(AddService=calls.AddServiceReply(), RemoveService=calls.RemoveServiceReply())
    )


def sent(daemon: ScriptedDaemon) -> object:
    """Return what the only call carried."""
    (call,) = daemon.calls
    return json.loads(bytes(call.parameters))


def test_a_service_is_added_in_silence(
    run: Run, daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--image", "k", "--network", "lan", "--addresses", "10.0.0.2,10.0.0.4-10.0.0.6")
    options += ("--addresses", "10.0.0.8/30")
    assert run("--socket", daemon.path, "service", "add", "web", *options) == (0, "", "")
    assert sent(daemon) == {
        "service": {
            "name": "web",
            "image": f"{tmp_path}/k",
            "network": "lan",
            "addresses": ["10.0.0.2", "10.0.0.4-10.0.0.6", "10.0.0.8/30"],
        }
    }


def test_every_option_reaches_the_daemon(run: Run, daemon: ScriptedDaemon, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("for the guest")
    options = ("--flavor", "net", "--cmdline", "a b", "--metadata", tmp_path / "m")
    options += ("--idle-seconds", "1.5", "--most", "7")
    assert run("--socket", daemon.path, "service", *NEEDED, "add", "web", *options).code == 0
    assert sent(daemon) == {
        "service": {
            "name": "web",
            "image": "/k",
            "network": "lan",
            "addresses": ["10.0.0.2"],
            "flavor": "net",
            "cmdline": "a b",
            "metadata": "for the guest",
            "idle_seconds": 1.5,
            "most": 7,
        }
    }


def test_metadata_that_is_no_text_is_an_error_before_any_call(
    run: Run, daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(b"\xff")
    options = (*NEEDED, "--metadata", tmp_path / "m")
    done = run("--socket", daemon.path, "service", "add", "web", *options)
    assert (done.code, daemon.connections) == (1, 0)
    assert done.err.startswith("lightvm: bad-request: the metadata is not text")


def test_a_service_is_removed_in_silence(run: Run, daemon: ScriptedDaemon) -> None:
    assert run("--socket", daemon.path, "service", "remove", "web") == (0, "", "")
    assert sent(daemon) == {"name": "web"}


def test_what_the_daemon_refuses_is_a_failure(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(RemoveService=errors.NotRemovable("take it out there", "web")))
    done = run("--socket", daemon.path, "service", "remove", "web")
    assert done == (1, "", "lightvm: not-removable: take it out there (web)\n")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("add", "web", *NEEDED[:4]), "add needs --image, --network and --addresses"),
        (("remove", "web", "--most", "2"), "remove takes a name and no more"),
        (("list",), "invalid choice"),
        (("add",), "required"),
        (("add", "web", *NEEDED, "--idle-seconds", "0"), "positive number"),
        (("add", "web", *NEEDED, "--most", "0"), "whole number"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(run: Run, args: tuple[str, ...], why: str) -> None:
    done = run("service", *args)
    assert done.code == 2
    assert done.err.startswith("lightvm: usage: ")
    assert why in done.err
