"""What the native ``lvm`` makes of replies, also of those that no daemon of ours gives, beside the Python command."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest

from lightvm import calls, errors, wire
from lightvm.cli import lvm
from lightvm.model import (
    Created,
    CreateResult,
    Domain,
    Exit,
    ExitReason,
    Failure,
    Mode,
    Phases,
    Source,
    State,
    Vbd,
    Vif,
)
from tests.native_lvm import Done, Installed
from tests.unit.samples import CREATED, DOMAIN, EXITED
from tests.unit.scripted import Peer, Play, ScriptedDaemon, answering

NOW = DOMAIN.created + 150

FULL = Domain(
    **{field: getattr(DOMAIN, field) for field in ("uuid", "domid", "state", "flavor", "image")},
    name="full",
    cmdline="a  b ",
    memory_kib=3 * 1024 * 1024,
    vcpus=3,
    created=1_700_000_000,
    vifs=(
        Vif(network="lan", mac="02:00:00:00:00:01", ipv4="10.0.0.2/24"),
        Vif(network="", mac="02:00:00:00:00:02"),
    ),
    vbds=(
        Vbd(path="/d", size_bytes=1 << 30, readonly=True),
        Vbd(path="/e f", size_bytes=1537, readonly=False),
    ),
    mode=DOMAIN.mode,
    cpus=("0-3,^1", "4"),
    cpu_weight=512,
    cpu_cap=250,
    ready=1_700_000_001.9999,
    exit=Exit(reason=ExitReason.CRASH, at=1_700_000_002.0005, status=None),
    restarts=2,
    heartbeat=7,
)
ALL = calls.CreateReply(
    created=Created(
        domain=FULL,
        source=Source.COLD,
        phases=Phases(
            prepare_us=1, load_us=2, journal_us=3, unpause_us=4, total_us=15, ready_us=1005
        ),
    )
)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.localtime", time.gmtime)


Both = Callable[..., tuple[Done, list[ScriptedDaemon]]]


@pytest.fixture
def both(installed: Installed, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Both:
    """Run a command line over a daemon that plays the same for both programs; return what both did."""
    path = tmp_path / "sock"

    def run_python(line: Sequence[str]) -> Done:
        try:
            code = lvm.main(list(line))
        except SystemExit as exc:
            code = int(exc.code or 0)
        return Done(code, *capfd.readouterr())

    def run(
        *words: str, plays: tuple[Play, ...], exact: bool = True, handed: bool = False
    ) -> tuple[Done, list[ScriptedDaemon]]:
        line = (words[0], "--socket", str(path), *words[1:])
        with ScriptedDaemon(path, *plays) as pythons:
            wanted = run_python(line)
        path.unlink()
        with ScriptedDaemon(path, *plays) as ours:
            done = installed.run(*line)
        path.unlink()
        if not exact:
            done, wanted = unworded(done), unworded(wanted)
        assert done == wanted
        assert bool(installed.taken_over()) == handed
        return done, [pythons, ours]

    return run


def unworded(done: Done) -> Done:
    """Return an outcome without the reason why a message is no reply, for which each program has its own words."""
    return done._replace(
        err=re.sub(r"(not a reply to io\.github\.lightvm\.\w+).*", r"\1", done.err)
    )


def sending(*messages: bytes) -> Play:
    """Return a script that takes a call and sends what is no reply of ours."""

    def play(peer: Peer) -> None:
        peer.next_call()
        for message in messages:
            peer.send(message)

    return play


def reply(value: object) -> bytes:
    return msgspec.json.encode({"parameters": value}) + b"\0"


# Plain replies


def test_create_asks_for_the_same_and_prints_the_same(both: Both) -> None:
    line = (
        *("create", "/k", "--name", 'a"\\\t', "--cmdline", "x  y\n", "--memory=3M", "--vcpus", "2"),
        *("--net", "lan", "--net", "lan,ip=1,mac=m", "--disk", "/d,ro", "--disk", "e,f,rw"),
        *("--disk", "g,h", "--module", "../m", "--cpus", "0", "--cpus", "1", "--cpu-weight", "7"),
        *("--cpu-cap", "50", "--mode", "noxs", "--on-reboot", "preserve", "--paused", "--cold"),
        *("--wait", "ready", "--timeout", "1.25", "--token", "t", "--flavor", "f", "--name", "b"),
    )
    done, daemons = both(*line, plays=(answering(Create=ALL),))
    assert done == (0, "full  12  cold  0.01 ms  ready after 1.00 ms\n", "")
    python, native = (json.loads(bytes(daemon.calls[0].parameters)) for daemon in daemons)
    assert native == python
    assert len(native["request"]) == 19


def test_many_ask_for_the_same_and_print_as_they_come(both: Both) -> None:
    failure = Failure(code="out-of-memory", message="no room\n", where="4096 KiB")
    replies = (
        calls.CreateManyReply(results=(CreateResult(index=0, created=ALL.created),)),
        calls.CreateManyReply(results=()),
        calls.CreateManyReply(
            results=(
                CreateResult(index=2, failure=failure),
                CreateResult(index=1, failure=Failure(code="x\x1b[2J", message="", where="")),
                CreateResult(index=3),
            )
        ),
    )
    line = ("create", "/k", "--count", "3", "--name", "a", "--token", "t")
    done, daemons = both(*line, plays=(answering(CreateMany=replies),))
    assert done.code == 1
    assert done.err.startswith(
        "lightvm: out-of-memory: no room\\n (domain 3 of 3, 4096 KiB)\nlightvm: x\\x1b[2J: "
    )
    python, native = (json.loads(bytes(daemon.calls[0].parameters)) for daemon in daemons)
    assert native == python
    assert daemons[1].calls[0].more


@pytest.mark.parametrize("domain", [FULL, EXITED, DOMAIN], ids=lambda domain: domain.name)
def test_info_prints_every_field(both: Both, domain: Domain) -> None:
    done, _ = both("info", "x", plays=(answering(Info=calls.DomainReply(domain=domain)),))
    assert domain.name in done.out


def test_list_is_a_table(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    domains = [
        msgspec.structs.replace(FULL, name="n" * number, domid=10**number, created=now - age)
        for number, age in enumerate([-50, 100, 7300, 90_000, 800_000_000], 1)
    ]
    wide = msgspec.structs.replace(EXITED, flavor="", image="/a b \x1b ", created=now - 86_500)
    answer = calls.ListReply(domains=(*domains, wide))
    done, _ = both("list", plays=(answering(List=answer),))
    assert len(done.out.splitlines()) == 7
    both("list", "-q", plays=(answering(List=answer),))
    both("list", plays=(answering(List=calls.ListReply(domains=())),))


def test_long_list_is_read_to_its_end(both: Both) -> None:
    domains = tuple(msgspec.structs.replace(DOMAIN, name=f"web-{number}") for number in range(5000))
    done, _ = both("list", "-q", plays=(answering(List=calls.ListReply(domains=domains)),))
    assert done.out.endswith("web-4999\n")


def test_wait_prints_how_it_ended(both: Both) -> None:
    for domain in (DOMAIN, EXITED, FULL):
        both("wait", "x", plays=(answering(Wait=calls.DomainReply(domain=domain)),))


def test_what_is_not_ascii_is_printed_by_python_where_it_may_be_asked_again(both: Both) -> None:
    domain = msgspec.structs.replace(DOMAIN, image="/größe/\u200b")
    answer = answering(
        Info=calls.DomainReply(domain=domain), List=calls.ListReply(domains=(domain,))
    )
    both("info", "x", plays=(answer,), handed=True)
    both("list", "-q", plays=(answer,), handed=True)


def test_what_is_not_ascii_is_an_escape_after_a_create(
    installed: Installed, tmp_path: Path
) -> None:
    created = msgspec.structs.replace(CREATED, domain=msgspec.structs.replace(DOMAIN, name="é"))
    with ScriptedDaemon(
        tmp_path / "sock", answering(Create=calls.CreateReply(created=created))
    ) as daemon:
        done = installed.run("create", "/k", LIGHTVM_SOCKET=daemon.path)
    assert done == (0, "\\xe9  12  pool  0.41 ms\n", "")


# Errors


@pytest.mark.parametrize("code", errors.BY_CODE)
def test_every_error_has_its_line_and_its_exit_code(both: Both, code: str) -> None:
    for where in ("x (y)\n", None):
        error = errors.BY_CODE[code]("what\tis wrong", where)
        done, _ = both("create", "/k", plays=(answering(Create=error),))
        assert done.err.startswith(f"lightvm: {code}: what\\tis wrong")
        assert done.code == (3 if code == "no-daemon" else 1)


@pytest.mark.parametrize(
    "error",
    [
        {"error": "io.github.lightvm.Nonsense", "parameters": {"message": "x"}},
        {"error": "io.github.lightvm.a.TimedOut"},
        {"error": "io.github.lightvm.timed-out"},
        {"error": "TimedOut"},
        {"error": ""},
        {"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "m\n"}},
        {"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "p"}},
        {"error": "org.varlink.service.x.y", "parameters": {"interface": "i"}},
        {"error": "io.github.lightvm.TimedOut", "parameters": {"message": "", "where": ""}},
        {"error": "io.github.lightvm.TimedOut", "parameters": {"message": None, "more": [1]}},
        {"error": "io.github.lightvm.NoSuchDomain", "parameters": {"where": "x"}, "continues": 1},
    ],
)
def test_strange_errors_are_errors(both: Both, error: dict[str, object]) -> None:
    done, _ = both("create", "/k", plays=(sending(msgspec.json.encode(error) + b"\0"),))
    assert done.code == 1


def test_destroy_goes_on_after_an_error_of_one_domain(both: Both) -> None:
    def play(peer: Peer) -> None:
        for answer in (errors.NoSuchDomain("who?", "a"), calls.DestroyReply()):
            peer.next_call()
            peer.answer(answer)

    done, daemons = both("destroy", "a", "b", plays=(play,))
    assert (done.code, daemons[1].connections) == (1, 1)


def test_destroy_connects_again_where_the_connection_was_closed(both: Both) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.socket.shutdown(socket.SHUT_RD)  # from here on nothing can be sent to it
        peer.send(reply({}))

    done, daemons = both("destroy", "a", "b", plays=(play,))
    assert done == (0, "", "")
    assert [daemon.connections for daemon in daemons] == [2, 2]


def test_destroy_ends_where_the_daemon_makes_no_sense(both: Both) -> None:
    _, daemons = both("destroy", "a", "b", plays=(sending(b"?\0"),), exact=False)
    assert [daemon.connections for daemon in daemons] == [1, 1]


# Hostile replies


def variations(value: object) -> Iterator[tuple[str, object]]:
    """Yield a JSON value with each of its parts left out, of no type, or of another one."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            for name, other in variations(item):
                yield f"{index}.{name}", [*value[:index], other, *value[index + 1 :]]
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        yield f"{key} missing", {k: v for k, v in value.items() if k != key}
        for other in (None, True, 0.5, "x", []):
            yield f"{key} {other}", value | {key: other}
        for name, other in variations(item):
            yield f"{key}.{name}", value | {key: other}
    yield "more", value | {"unknown": {"a": [None, "\u00e9"]}}


@pytest.mark.parametrize("word", [*State, *Mode, *Source, *ExitReason])
def test_every_word_of_the_model_is_known(both: Both, word: StrEnum) -> None:
    domain, created = FULL, ALL.created
    if isinstance(word, Source):
        created = msgspec.structs.replace(created, source=word)
    elif isinstance(word, ExitReason):
        domain = msgspec.structs.replace(domain, exit=Exit(reason=word, at=0.0, status=3))
    else:
        field = "state" if isinstance(word, State) else "mode"
        domain = msgspec.structs.replace(domain, **{field: word})
    created = msgspec.structs.replace(created, domain=domain)
    done, _ = both("create", "/k", plays=(answering(Create=calls.CreateReply(created=created)),))
    assert done.code == 0


def test_sample_has_every_field() -> None:
    for value in (ALL.created.phases, FULL, FULL.vifs[0], FULL.vbds[0]):
        names = {field.name for field in msgspec.structs.fields(value)}
        assert set(msgspec.to_builtins(value)) == names


@pytest.mark.slow
def test_reply_is_refused_by_both_or_by_none(both: Both) -> None:
    cases = list(variations(msgspec.to_builtins(ALL)))
    assert len(cases) > 180
    codes = [
        both("create", "/k", plays=(sending(reply(case)),), exact=False)[0].code
        for _, case in cases
    ]
    assert {0, 1} == set(codes)


@pytest.mark.parametrize(
    "message",
    [
        b"\0",
        b"?\0",
        b"[]\0",
        b"{}\0",
        b'{"parameters":{}}\0',
        b'{"parameters":null}\0',
        b'{"parameters":{"created":{}}}\0',
        b'{"parameters":' + b"[" * 100_000 + b"\0",
        b'{"parameters":{"created":"\xff"}}\0',
        b'{"error":5}\0',
        b'{"error":"io.github.lightvm.TimedOut","parameters":[]}\0',
        reply(msgspec.to_builtins(ALL))[:-2] + b"\0",
        reply(msgspec.to_builtins(ALL))[:-1] + b",\0",
    ],
)
def test_garbage_is_a_protocol_error(both: Both, message: bytes) -> None:
    done, _ = both("create", "/k", plays=(sending(message),), exact=False)
    assert done.code == 1
    assert done.err.startswith("lightvm: protocol-error: not a reply to io.github.lightvm.Create")


def test_garbage_is_left_to_python_where_it_may_be_asked_again(both: Both) -> None:
    for verb in ("info", "wait"):
        done, _ = both(verb, "x", plays=(sending(b'{"parameters":{"domain":5}}\0'),), handed=True)
        assert done.err.startswith("lightvm: protocol-error: ")


def test_second_reply_to_one_call_is_passed_over(both: Both) -> None:
    done, _ = both("create", "/k", plays=(sending(reply(ALL) + reply(ALL) + b"x"),))
    assert done.code == 0


def test_reply_that_promises_another_is_a_protocol_error(both: Both) -> None:
    for words, value in ((("create", "/k"), ALL), (("destroy", "a"), calls.DestroyReply())):
        message = wire.encode_reply(value, continues=True)
        done, _ = both(*words, plays=(sending(message),))
        assert done.err.startswith("lightvm: protocol-error: more than one reply to ")


def test_reply_may_come_byte_by_byte(both: Both) -> None:
    message = reply(ALL)
    both("create", "/k", plays=(sending(*(message[i : i + 1] for i in range(len(message)))),))


@pytest.mark.parametrize("sent", [b"", b'{"parameters":', b"x" * 9000])
def test_connection_that_ends_early_is_lost(both: Both, sent: bytes) -> None:
    for verb in ("create", "destroy", "info", "list", "wait"):
        words = (verb,) if verb == "list" else (verb, "/k")
        done, _ = both(*words, plays=(sending(sent),))
        assert done.err.startswith("lightvm: connection-lost: ")


def test_connection_that_ends_at_once_is_lost(both: Both) -> None:
    done, _ = both("create", "/k", plays=(lambda peer: None,))
    assert done.code == 1


def test_endless_message_is_a_protocol_error(both: Both) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        try:
            while True:
                peer.send(b"x" * (1 << 20))
        except OSError:
            pass

    done, _ = both("create", "/k", plays=(play,))
    assert done.err == "lightvm: protocol-error: a message is longer than 16777216 bytes\n"
