"""The other verbs: what they ask for and what they print."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from lightvm import __version__, calls, errors
from lightvm.model import (
    ConsoleChunk,
    Domain,
    Event,
    EventKind,
    Finding,
    Flavor,
    Mode,
    Pool,
    ServiceStatus,
    State,
    Verdict,
)
from tests.unit.cli.conftest import Run
from tests.unit.conftest import StartDaemon
from tests.unit.samples import DOMAIN, EXITED, VERSION
from tests.unit.scripted import Peer, answering

INFO = calls.DomainReply(domain=DOMAIN)
UTC = "UTC"


@pytest.fixture(autouse=True)
def _one_moment_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: DOMAIN.created + 150)
    monkeypatch.setattr("time.localtime", time.gmtime)


@pytest.fixture
def two(start_daemon: StartDaemon) -> str:
    """A daemon that knows two domains."""
    return start_daemon(answering(List=calls.ListReply(domains=(DOMAIN, EXITED)))).path


def test_list_is_a_table(run: Run, two: str) -> None:
    assert run("--socket", two, "list") == (
        0,
        "NAME   DOMID  STATE     MEM  VCPUS  FLAVOR  AGE  IMAGE\n"
        "web-1     12  running    4M      1  tiny     2m  /srv/kernels/web\n"
        "job       13  exited   512M      2  tiny     2m  /srv/kernels/job\n",
        "",
    )


def test_list_without_domains_is_a_header(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(List=calls.ListReply(domains=())))
    done = run("--socket", daemon.path, "list")
    assert done.out == "NAME  DOMID  STATE  MEM  VCPUS  FLAVOR  AGE  IMAGE\n"


def test_quiet_list_is_names_only(run: Run, two: str) -> None:
    assert run("--socket", two, "list", "-q").out == "web-1\njob\n"


@pytest.mark.parametrize(("args", "wanted"), [((), False), (("-a",), True), (("--all",), True)])
def test_list_asks_for_exited_domains_only_with_all(
    run: Run, start_daemon: StartDaemon, args: tuple[str, ...], wanted: bool
) -> None:
    script = answering(List=calls.ListReply(domains=()), Foreign=calls.ForeignReply(domains=()))
    daemon = start_daemon(script)
    run("--socket", daemon.path, "list", *args)
    assert json.loads(bytes(daemon.calls[0].parameters)) == {"all": wanted}


def test_list_in_json_has_every_field(run: Run, two: str) -> None:
    done = run("--socket", two, "list", "--format", "json")
    assert msgspec.json.decode(done.out, type=list[Domain]) == [DOMAIN, EXITED]


def test_list_in_csv_has_plain_values(run: Run, two: str) -> None:
    assert run("--socket", two, "list", "--format", "csv").out.splitlines() == [
        "name,uuid,domid,state,memory_kib,vcpus,flavor,created,image",
        f"web-1,{DOMAIN.uuid},12,running,4096,1,tiny,1700000000.0,/srv/kernels/web",
        f"job,{EXITED.uuid},13,exited,524288,2,tiny,1700000000.0,/srv/kernels/job",
    ]


def test_names_and_paths_cannot_reach_the_terminal(run: Run, start_daemon: StartDaemon) -> None:
    hostile = msgspec.structs.replace(DOMAIN, name="a\x1b[2J", image="/k\nb")
    daemon = start_daemon(
        answering(List=calls.ListReply(domains=(hostile,)), Info=calls.DomainReply(domain=hostile))
    )
    for args in (("list",), ("list", "-q"), ("info", "a"), ("list", "--format", "json")):
        done = run("--socket", daemon.path, *args)
        assert "\x1b" not in done.out
        assert "\nb" not in done.out


def test_info_shows_every_field(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=calls.DomainReply(domain=EXITED)))
    assert run("--socket", daemon.path, "info", "job").out == (
        "name:     job\n"
        "uuid:     6f1c2a5e-0d0b-4d0e-9f5c-2f4b8f3f9a02\n"
        "domid:    13\n"
        "state:    exited\n"
        "flavor:   tiny\n"
        "mode:     noxs\n"
        "memory:   512M\n"
        "vcpus:    2\n"
        "image:    /srv/kernels/job\n"
        "cmdline:\n"
        "created:  2023-11-14T22:13:20.000\n"
        "ready:    2023-11-14T22:13:21.500\n"
        "exited:   2023-11-14T22:13:22.250\n"
        "exit:     poweroff 7\n"
    )


def test_info_in_json_is_the_domain(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=INFO))
    done = run("--socket", daemon.path, "info", "12", "--format", "json")
    assert msgspec.json.decode(done.out, type=Domain) == DOMAIN


@pytest.mark.parametrize(
    ("verb", "method"), [("destroy", "Destroy"), ("pause", "Pause"), ("unpause", "Unpause")]
)
def test_several_domains_take_their_turns_in_silence(
    run: Run, start_daemon: StartDaemon, verb: str, method: str
) -> None:
    daemon = start_daemon(
        answering(Destroy=calls.DestroyReply(domain=DOMAIN), Pause=INFO, Unpause=INFO)
    )
    assert run("--socket", daemon.path, verb, "a", "b") == (0, "", "")
    assert [call.method.rpartition(".")[2] for call in daemon.calls] == [method] * 2
    assert [json.loads(bytes(c.parameters))["domain"] for c in daemon.calls] == ["a", "b"]


def test_domain_that_fails_does_not_keep_the_next_from_its_turn(
    run: Run, start_daemon: StartDaemon
) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(errors.NoSuchDomain("who?", "a"))
        peer.next_call()
        peer.answer(calls.DestroyReply(domain=DOMAIN))

    daemon = start_daemon(play)
    done = run("--socket", daemon.path, "destroy", "a", "b")
    assert done == (1, "", "lightvm: no-such-domain: who? (a)\n")
    assert len(daemon.calls) == 2


def test_daemon_that_goes_away_ends_the_turns(run: Run, start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()

    daemon = start_daemon(play)
    done = run("--socket", daemon.path, "destroy", "a", "b")
    assert done.err.startswith("lightvm: connection-lost: ")
    assert len(daemon.calls) == 1


@pytest.mark.parametrize("args", [("--missing-ok", "a"), ("a", "--missing-ok")])
def test_destroy_lets_the_daemon_decide_what_is_missing(
    run: Run, start_daemon: StartDaemon, args: tuple[str, ...]
) -> None:
    daemon = start_daemon(answering(Destroy=calls.DestroyReply()))
    assert run("--socket", daemon.path, "destroy", *args) == (0, "", "")
    assert json.loads(bytes(daemon.calls[0].parameters)) == {"domain": "a", "missing_ok": True}


def test_options_may_stand_between_domains(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Destroy=calls.DestroyReply()))
    assert run("--socket", daemon.path, "destroy", "a", "--missing-ok", "b", "--", "-c").code == 0
    assert [json.loads(bytes(c.parameters))["domain"] for c in daemon.calls] == ["a", "b", "-c"]


def chunk(data: bytes, offset: int, *, lost: int = 0) -> ConsoleChunk:
    """Return console output from an offset on."""
    return ConsoleChunk(data=data, offset=offset, next=offset + len(data), lost=lost, ended=False)


def test_console_copies_all_there_is_as_it_is(run: Run, start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        for reply in (chunk(b"one\r\n", 7, lost=7), chunk(b"\x1b[1mtwo", 12), chunk(b"", 19)):
            peer.next_call()
            peer.answer(reply)
        peer.wait_gone()

    daemon = start_daemon(play)
    done = run("--socket", daemon.path, "console", "web-1", "--offset", "0")
    assert done == (
        0,
        "one\r\n\x1b[1mtwo",
        "lightvm: console-lost: 7 bytes before offset 7 are gone\n",
    )
    assert [json.loads(bytes(c.parameters)).get("offset") for c in daemon.calls] == [0, 12, 19]


def test_console_of_a_guest_that_talks_on_has_an_end(run: Run, start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        for reply in (chunk(b"four", 0), chunk(b"two", 4)):
            peer.next_call()
            peer.answer(reply)
        peer.wait_gone()

    assert run("--socket", start_daemon(play).path, "console", "web-1").out == "fourtwo"


def test_console_follows_to_the_end(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Console=(chunk(b"a", 5), chunk(b"b", 6))))
    done = run("--socket", daemon.path, "console", "-f", "web-1", "--offset", "5")
    assert done == (0, "ab", "")
    assert daemon.calls[0].more
    assert json.loads(bytes(daemon.calls[0].parameters)) == {
        "domain": "web-1",
        "offset": 5,
        "follow": True,
    }


def test_wait_is_for_the_exit_and_prints_how_it_was(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Wait=calls.DomainReply(domain=EXITED)))
    assert run("--socket", daemon.path, "wait", "job") == (0, "poweroff 7\n", "")
    assert json.loads(bytes(daemon.calls[0].parameters)) == {"domain": "job", "until": "exited"}


def test_wait_for_readiness_prints_nothing(run: Run, start_daemon: StartDaemon) -> None:
    ready = msgspec.structs.replace(DOMAIN, state=State.READY)
    daemon = start_daemon(answering(Wait=calls.DomainReply(domain=ready)))
    args = ("wait", "web-1", "--for", "ready", "--timeout", "0.5")
    assert run("--socket", daemon.path, *args) == (0, "", "")
    assert json.loads(bytes(daemon.calls[0].parameters)) == {
        "domain": "web-1",
        "until": "ready",
        "timeout_ms": 500,
    }


def test_wait_that_takes_too_long_is_a_failure(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Wait=errors.TimedOut("not ready after 500 ms", "web-1")))
    done = run("--socket", daemon.path, "wait", "web-1")
    assert done == (1, "", "lightvm: timed-out: not ready after 500 ms (web-1)\n")


EVENTS = (
    Event(kind=EventKind.CREATED, at=1_700_000_000.0, domain=DOMAIN),
    Event(kind=EventKind.EXITED, at=1_700_000_002.25, domain=EXITED),
    Event(kind=EventKind.LOST_EVENTS, at=1_700_000_003.0, count=4),
)


@pytest.fixture
def watched(start_daemon: StartDaemon) -> str:
    """A daemon in which something happens, and which then ends the stream."""
    replies = tuple(calls.WatchReply(event=event) for event in EVENTS)
    return start_daemon(answering(Watch=(calls.WatchReply(), *replies))).path


def test_events_are_one_line_each(run: Run, watched: str) -> None:
    assert run("--socket", watched, "events").out == (
        "2023-11-14T22:13:20.000  created     web-1  12\n"
        "2023-11-14T22:13:22.250  exited      job  13  poweroff 7\n"
        "2023-11-14T22:13:23.000  lost_events  4\n"
    )


def test_events_in_json_are_one_line_each(run: Run, watched: str) -> None:
    done = run("--socket", watched, "events", "--format", "json")
    lines = [msgspec.json.decode(line, type=Event) for line in done.out.splitlines()]
    assert lines == list(EVENTS)


POOL = Pool(
    flavor="tiny",
    shells=4,
    tickets=1,
    low=2,
    high=8,
    hits=120,
    instant=7,
    misses=3,
    prepared=127,
    discarded=1,
    last_error="no room",
)


def test_pool_is_a_table(run: Run, start_daemon: StartDaemon) -> None:
    other = msgspec.structs.replace(POOL, flavor="big", last_error=None)
    daemon = start_daemon(answering(PoolStatus=calls.PoolStatusReply(pools=(POOL, other))))
    assert run("--socket", daemon.path, "pool").out == (
        "FLAVOR  SHELLS  TICKETS  LOW  HIGH  HITS  INSTANT  MISSES  PREPARED  DISCARDED  LAST ERROR\n"
        "tiny         4        1    2     8   120        7       3       127          1  no room\n"
        "big          4        1    2     8   120        7       3       127          1\n"
    )


def test_flavors_are_a_table(run: Run, start_daemon: StartDaemon) -> None:
    flavor = Flavor(
        name="tiny", memory_kib=4096, vcpus=1, low=2, high=8, networks=(), disks=0, mode=Mode.NOXS
    )
    daemon = start_daemon(answering(Flavors=calls.FlavorsReply(flavors=(flavor,))))
    assert run("--socket", daemon.path, "flavors").out == (
        "NAME  MODE  MEM  VCPUS  LOW  HIGH\ntiny  noxs   4M      1    2     8\n"
    )


def test_services_are_a_table_or_json(run: Run, start_daemon: StartDaemon) -> None:
    service = ServiceStatus(
        name="web", network="lan", requests=12, created=11, failed=1, destroyed=7, live=4
    )
    daemon = start_daemon(answering(Services=calls.ServicesReply(services=(service,))))
    assert run("--socket", daemon.path, "services").out == (
        "NAME  NETWORK  LIVE  REQUESTS  CREATED  FAILED  DESTROYED\n"
        "web   lan         4        12       11       1          7\n"
    )
    in_json = run("--socket", daemon.path, "services", "--format", "json").out
    assert msgspec.json.decode(in_json, type=list[ServiceStatus]) == [service]


def test_pool_and_flavors_have_json(run: Run, start_daemon: StartDaemon) -> None:
    flavor = Flavor(
        name="tiny", memory_kib=4096, vcpus=1, low=2, high=8, networks=(), disks=0, mode=Mode.NOXS
    )
    daemon = start_daemon(
        answering(
            PoolStatus=calls.PoolStatusReply(pools=(POOL,)),
            Flavors=calls.FlavorsReply(flavors=(flavor,)),
        )
    )
    pools = run("--socket", daemon.path, "pool", "--format", "json").out
    assert msgspec.json.decode(pools, type=list[Pool]) == [POOL]
    flavors = run("--socket", daemon.path, "flavors", "--format", "json").out
    assert msgspec.json.decode(flavors, type=list[Flavor]) == [flavor]


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(Verdict.OK, 0), (Verdict.FOREIGN, 0), (Verdict.LEAKED, 1), (Verdict.MISSING, 1)],
)
def test_doctor_fails_where_something_is_leaked_or_missing(
    run: Run, start_daemon: StartDaemon, verdict: Verdict, code: int
) -> None:
    finding = Finding(kind="domain", verdict=verdict, what="12", detail="web-1")
    daemon = start_daemon(answering(Doctor=calls.DoctorReply(findings=(finding,))))
    done = run("--socket", daemon.path, "doctor")
    assert done.code == code
    assert done.out.splitlines()[1].split() == [verdict, "domain", "12", "web-1"]
    in_json = run("--socket", daemon.path, "doctor", "--format", "json")
    assert in_json.code == code
    assert msgspec.json.decode(in_json.out, type=list[Finding]) == [finding]


def test_version_tells_of_client_daemon_and_xen(run: Run, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Version=VERSION))
    assert run("--socket", daemon.path, "version").out == (
        f"lightvm {__version__}\n"
        "lightvmd 0.1.0, up 2h, 2 domains, 8 shells\n"
        "Xen 4.17.5, domctl 0x15, sysctl 0x15\n"
    )
    in_json = json.loads(run("--socket", daemon.path, "version", "--format", "json").out)
    assert in_json["client"] == __version__
    assert in_json["daemon"]["domctl"] == 0x15


def test_version_without_a_daemon_is_no_failure(run: Run) -> None:
    done = run("--socket", "/none", "version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"lightvm {__version__}\nlightvmd no-daemon: ")
    in_json = json.loads(run("--socket", "/none", "version", "--format", "json").out)
    assert in_json == {"client": __version__, "daemon": None}
