"""What the native ``lvm`` makes of replies and errors, beside the Python command."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import msgspec
import pytest

from lightvm import calls, errors
from lightvm.model import CreateResult, Domain, Failure
from tests.native.replies import ALL, FULL, Both, reply, sending
from tests.native_lvm import Installed
from tests.unit.samples import CREATED, DOMAIN, EXITED
from tests.unit.scripted import Peer, ScriptedDaemon, answering


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
