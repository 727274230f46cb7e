"""``lightvm create``."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest

from lightvm import calls, errors
from lightvm.cli.progress import Progress
from lightvm.model import Created, CreateResult, Failure, Phases, Source
from tests.unit.cli.conftest import Run
from tests.unit.conftest import StartDaemon
from tests.unit.samples import CREATED, DOMAIN
from tests.unit.scripted import ScriptedDaemon, answering

READY = Created(
    domain=msgspec.structs.replace(DOMAIN, name="web-2", domid=13),
    source=Source.COLD,
    phases=Phases(
        prepare_us=9, load_us=1, journal_us=1, unpause_us=1, total_us=15_230, ready_us=3_200
    ),
)


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> ScriptedDaemon:
    """A daemon that can create one domain, or two of three."""
    failure = Failure(code="out-of-memory", message="no room", where="4096 KiB")
    return start_daemon(
        answering(
            Create=calls.CreateReply(created=CREATED),
            CreateMany=(
                calls.CreateManyReply(results=(CreateResult(index=0, created=CREATED),)),
                calls.CreateManyReply(
                    results=(
                        CreateResult(index=2, failure=failure),
                        CreateResult(index=1, created=READY),
                    )
                ),
            ),
        )
    )


def sent(daemon: ScriptedDaemon) -> object:
    """Return what the only call carried."""
    (call,) = daemon.calls
    return json.loads(bytes(call.parameters))


def test_it_prints_name_domid_source_and_time(run: Run, daemon: ScriptedDaemon) -> None:
    done = run("--socket", daemon.path, "create", "/k")
    assert done == (0, "web-1  12  pool  0.41 ms\n", "")
    assert sent(daemon) == {"request": {"image": "/k"}}


def test_every_option_reaches_the_daemon(
    run: Run, daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = (
        *("--name", "web-1", "--flavor", "tiny", "--memory", "4M", "--vcpus", "2"),
        *("--cmdline", "a b", "--module", "m1", "--module", "/m2", "--paused"),
        *("--wait", "ready", "--timeout", "1.5", "--token", "t"),
    )
    assert run("--socket", daemon.path, "create", "k", *options).code == 0
    assert sent(daemon) == {
        "request": {
            "image": f"{tmp_path}/k",
            "name": "web-1",
            "flavor": "tiny",
            "memory_kib": 4096,
            "vcpus": 2,
            "cmdline": "a b",
            "modules": [f"{tmp_path}/m1", "/m2"],
            "paused": True,
            "wait": "ready",
            "timeout_ms": 1500,
            "token": "t",
        }
    }


def test_configuration_is_read_and_options_come_first(
    run: Run, daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    (tmp_path / "vm.toml").write_text('image = "/k"\nname = "old"\nmemory = 8\n')
    run("--socket", daemon.path, "create", tmp_path / "vm.toml", "--name", "new")
    assert sent(daemon) == {"request": {"image": "/k", "name": "new", "memory_kib": 8192}}


def test_wrong_configuration_is_an_error_before_any_call(
    run: Run, daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    (tmp_path / "vm.toml").write_text('image = "/k"\ncolour = "red"\n')
    done = run("--socket", daemon.path, "create", tmp_path / "vm.toml")
    assert done.code == 1
    assert done.err == (
        f"lightvm: bad-request: Object contains unknown field `colour` ({tmp_path}/vm.toml)\n"
    )
    assert daemon.connections == 0


def test_timeout_without_a_wait_is_a_usage_error(run: Run) -> None:
    done = run("create", "/k", "--timeout", "5")
    assert done.code == 2
    assert done.err.startswith("lightvm: usage: --timeout bounds --wait, which is not given")


def test_json_is_the_reply_on_one_line(run: Run, daemon: ScriptedDaemon) -> None:
    done = run("--socket", daemon.path, "create", "/k", "--format", "json")
    assert done.out.count("\n") == 1
    assert msgspec.json.decode(done.out, type=Created) == CREATED


def test_many_are_numbered_and_printed_as_they_come_and_failures_do_not_stop_the_rest(
    run: Run, daemon: ScriptedDaemon
) -> None:
    done = run("--socket", daemon.path, "create", "/k", "--name", "web", "--count", "3")
    assert sent(daemon) == {
        "requests": [{"image": "/k", "name": f"web-{number}"} for number in (1, 2, 3)]
    }
    assert daemon.calls[0].more
    assert done.out == (
        "web-1  12  pool  0.41 ms\nweb-2  13  cold  15.23 ms  ready after 3.20 ms\n"
    )
    assert done.err == "lightvm: out-of-memory: no room (domain 3 of 3, 4096 KiB)\n"
    assert done.code == 1


def test_codes_of_failures_cannot_reach_the_terminal(run: Run, start_daemon: StartDaemon) -> None:
    hostile = CreateResult(index=0, failure=Failure(code="a\x1b[2J", message="no"))
    daemon = start_daemon(answering(CreateMany=calls.CreateManyReply(results=(hostile,))))
    done = run("--socket", daemon.path, "create", "/k", "--count", "1")
    assert done.err == "lightvm: a\\x1b[2J: no (domain 1 of 1)\n"


def test_many_in_json_are_one_line_each(run: Run, daemon: ScriptedDaemon) -> None:
    done = run("--socket", daemon.path, "create", "/k", "--count", "3", "--format", "json")
    lines = [msgspec.json.decode(line, type=Created) for line in done.out.splitlines()]
    assert lines == [CREATED, READY]


def test_failed_create_prints_nothing_on_stdout(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Create=errors.BadImage("no ELF file", "/k: offset 0")))
    done = run("--socket", daemon.path, "create", "/k")
    assert done == (1, "", "lightvm: bad-image: no ELF file (/k: offset 0)\n")


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress(2) as progress:
        progress.show(1)
    assert terminal.getvalue() == "\r\x1b[K0 of 2\r\x1b[K1 of 2\r\x1b[K"


def test_progress_is_not_shown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Progress(2) as progress:
        progress.show(1)
    assert stream.getvalue() == ""
