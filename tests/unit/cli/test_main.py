"""The command as a whole: finding the verb, errors and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightvm
from lightvm import calls, errors
from lightvm.cli.verbs import VERBS
from lightvm.model import Event, EventKind
from tests.unit.cli.conftest import Run
from tests.unit.conftest import StartDaemon
from tests.unit.samples import DOMAIN, VERSION
from tests.unit.scripted import Peer, answering

COMMAND = (sys.executable, "-m", "lightvm")
ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(Path(lightvm.__file__).parent.parent)}


def test_help_lists_every_verb(run: Run) -> None:
    for args in (("--help",), ("-h",), ("help",)):
        done = run(*args)
        assert done.code == 0
        assert all(f"  {verb} " in done.out for verb in VERBS)
        assert done.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run: Run, verb: str) -> None:
    done = run(verb, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: lightvm {verb} [-h] [--socket PATH]")
    assert run("help", verb) == done


def test_version_of_the_client_needs_no_daemon(run: Run) -> None:
    assert run("-V") == (0, f"lightvm {lightvm.__version__}\n", "")
    assert run("--version") == (0, f"lightvm {lightvm.__version__}\n", "")


def test_call_without_a_verb_shows_the_help_and_fails(run: Run) -> None:
    done = run()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: lightvm ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("lits",), "there is no verb 'lits'; did you mean 'list'?; see 'lightvm --help'"),
        (("qqq",), "there is no verb 'qqq'; see 'lightvm --help'"),
        (("info",), "the following arguments are required: DOMAIN; see 'lightvm info --help'"),
        (("list", "-z"), "unrecognized arguments: -z; see 'lightvm list --help'"),
        (("list", "--al"), "unrecognized arguments: --al; see 'lightvm list --help'"),
        (("--socket",), "argument --socket: expected one argument; see 'lightvm --help'"),
        (
            ("create", "/k", "--memory", "much"),
            "argument --memory: 'much' is not a size such as 4M, 512K or 1G;"
            " see 'lightvm create --help'",
        ),
    ],
)
def test_usage_error_is_one_line_and_code_2(run: Run, args: tuple[str, ...], message: str) -> None:
    assert run(*args) == (2, "", f"lightvm: usage: {message}\n")


def test_missing_daemon_is_one_line_and_code_3(run: Run, tmp_path: Path) -> None:
    done = run("--socket", tmp_path / "none", "list")
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "lightvm: no-daemon: there is no such socket: start lightvmd, or set LIGHTVM_SOCKET to its"
        f" path ({tmp_path}/none)\n"
    )


def test_error_of_the_daemon_is_one_line_and_code_1(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(
        answering(Info=errors.NoSuchDomain("no domain of ours has that name", "x"))
    )
    done = run("--socket", daemon.path, "info", "x")
    assert done == (1, "", "lightvm: no-such-domain: no domain of ours has that name (x)\n")


def test_error_message_cannot_reach_the_terminal(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=errors.NoSuchDomain("a\nb\x1b[2J")))
    done = run("--socket", daemon.path, "info", "x")
    assert done.err == "lightvm: no-such-domain: a\\nb\\x1b[2J\n"


def test_lost_connection_and_nonsense_are_failures(run: Run, start_daemon: StartDaemon) -> None:
    def hang_up(peer: Peer) -> None:
        peer.next_call()

    def babble(peer: Peer) -> None:
        peer.next_call()
        peer.send(b"hello\0")

    daemon = start_daemon(hang_up, babble)
    assert run("--socket", daemon.path, "list").err.startswith("lightvm: connection-lost: ")
    done = run("--socket", daemon.path, "list")
    assert done.code == 1
    assert done.err.startswith("lightvm: protocol-error: ")


def test_argument_that_is_not_unicode_is_an_error(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering())
    done = run("--socket", daemon.path, "info", os.fsdecode(b"\xff"))
    assert done.code == 1
    assert done.err.startswith("lightvm: bad-request: a value cannot be sent: ")


def test_socket_may_be_given_before_or_after_the_verb_or_by_the_environment(
    run: Run, start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = start_daemon(answering(List=calls.ListReply(domains=(DOMAIN,))))
    assert run("--socket", daemon.path, "list", "-q").out == "web-1\n"
    assert run("list", "-q", "--socket", daemon.path).out == "web-1\n"
    monkeypatch.setenv("LIGHTVM_SOCKET", daemon.path)
    assert run("list", "-q").out == "web-1\n"


def test_interrupt_ends_with_130_and_no_words(
    run: Run, start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def silent(peer: Peer) -> None:
        peer.next_call()
        peer.wait_gone()

    daemon = start_daemon(silent)
    monkeypatch.setattr("lightvm.conversation.Conversation.next_reply", interrupt)
    assert run("--socket", daemon.path, "list") == (130, "", "")


@pytest.fixture
def watcher(start_daemon: StartDaemon) -> Iterator[subprocess.Popen[str]]:
    """Run ``lightvm events`` as a process of its own, with an event that it has printed already."""
    event = Event(kind=EventKind.CREATED, at=1.0, domain=DOMAIN)

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(calls.WatchReply(), continues=True)
        while True:
            peer.answer(calls.WatchReply(event=event), continues=True)
            if not peer.socket.recv(1):
                return

    def play_on(peer: Peer) -> None:
        try:
            play(peer)
        except OSError:
            return  # the process is gone

    daemon = start_daemon(play_on)
    # In the background of a shell SIGINT is ignored, and a process begins with what it inherits.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [*COMMAND, "--socket", daemon.path, "events"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        assert "web-1" in process.stdout.readline()
        yield process
        process.kill()


def test_ctrl_c_ends_the_process_with_130_and_no_traceback(
    watcher: subprocess.Popen[str],
) -> None:
    watcher.send_signal(signal.SIGINT)
    assert watcher.communicate(timeout=30) == ("", "")
    assert watcher.returncode == 130


@pytest.mark.parametrize("verb", ["list", "flavors"])
def test_reader_that_went_away_ends_the_process_without_a_word(
    start_daemon: StartDaemon, verb: str
) -> None:
    daemon = start_daemon(
        answering(
            List=calls.ListReply(domains=(DOMAIN,) * 5000), Flavors=calls.FlavorsReply(flavors=())
        )
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "--socket", daemon.path, verb],
        env=ENVIRONMENT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


def test_full_disk_behind_the_output_is_a_failure(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Version=VERSION))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "--socket", daemon.path, "version"],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stderr == "lightvm: os-error: [Errno 28] No space left on device\n"
    assert done.returncode == 1


def test_closed_output_is_no_failure(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Version=VERSION))
    done = subprocess.run(
        f'"{sys.executable}" -m lightvm --socket "{daemon.path}" version >&-',
        shell=True,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_name_that_the_locale_lacks_is_printed_with_escapes(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=errors.NoSuchDomain("größe"), Version=VERSION))
    done = subprocess.run(
        [*COMMAND, "--socket", daemon.path, "info", "x"],
        env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == "lightvm: no-such-domain: gr\\xf6\\xdfe\n"
