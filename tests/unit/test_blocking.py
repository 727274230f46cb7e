"""The blocking client against a scripted daemon."""

from __future__ import annotations

import inspect
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from lightvm import calls, client, errors, wire
from lightvm.blocking import Client
from lightvm.model import CreateRequest, CreateResult, Event, EventKind, WaitFor
from tests.unit.conftest import StartDaemon
from tests.unit.samples import ADDED, ASKED, CHUNK, CREATED, DOMAIN, EXITED, INFO, VERSION
from tests.unit.scripted import Peer, answering

SHORT_S = 0.02
"""Long enough for a local answer not to matter: the scripts that it ends never answer."""


def silent(peer: Peer) -> None:
    """Take a call and never answer it."""
    peer.next_call()
    peer.wait_gone()


def test_it_has_the_verbs_of_the_trio_client_with_the_same_parameters() -> None:
    def verbs(cls: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(function).parameters.values())
            for name, function in vars(cls).items()
            if inspect.isfunction(function) and not name.startswith("_")
        }

    ours, theirs = verbs(Client), verbs(client.Client)
    assert ours.keys() - {"close", "within"} == theirs.keys() - {"aclose", "connect"}
    assert all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())


def test_every_plain_verb_calls_its_method(start_daemon: StartDaemon) -> None:
    results = (CreateResult(index=0, created=CREATED),)
    daemon = start_daemon(
        answering(
            Create=calls.CreateReply(created=CREATED),
            CreateMany=calls.CreateManyReply(results=results),
            Destroy=calls.DestroyReply(),
            List=calls.ListReply(domains=(DOMAIN, EXITED)),
            Info=INFO,
            Pause=INFO,
            Unpause=INFO,
            Console=CHUNK,
            Wait=calls.DomainReply(domain=EXITED),
            Flavors=calls.FlavorsReply(flavors=()),
            PoolStatus=calls.PoolStatusReply(pools=()),
            AddService=calls.AddServiceReply(),
            RemoveService=calls.RemoveServiceReply(),
            Doctor=calls.DoctorReply(findings=()),
            Version=VERSION,
        )
    )
    with Client(daemon.path) as daemon_client:
        assert daemon_client.create("/k", modules=["/m"], wait=WaitFor.READY) == CREATED
        assert daemon_client.create_many([CreateRequest(image="/k")]) == results
        assert daemon_client.destroy("web-1", missing_ok=True) is None
        assert daemon_client.list() == (DOMAIN, EXITED)
        assert daemon_client.info("web-1") == DOMAIN
        assert daemon_client.pause("web-1") == DOMAIN
        assert daemon_client.unpause("web-1") == DOMAIN
        assert daemon_client.console_read("web-1") == CHUNK
        assert daemon_client.wait("job") == EXITED
        assert daemon_client.flavors() == ()
        assert daemon_client.pool_status() == ()
        daemon_client.add_service(
            "web", image="/k", network="lan", addresses=["10.0.0.2"], idle_seconds=2.5
        )
        daemon_client.remove_service("web")
        assert daemon_client.doctor() == ()
        assert daemon_client.version() == VERSION
    sent = [(c.method.rpartition(".")[2], msgspec.json.decode(c.parameters)) for c in daemon.calls]
    assert sent == [
        ("Create", {"request": {"image": "/k", "modules": ["/m"], "wait": "ready"}}),
        ("CreateMany", {"requests": [{"image": "/k"}]}),
        ("Destroy", {"domain": "web-1", "missing_ok": True}),
        ("List", {}),
        ("Info", {"domain": "web-1"}),
        ("Pause", {"domain": "web-1"}),
        ("Unpause", {"domain": "web-1"}),
        ("Console", {"domain": "web-1"}),
        ("Wait", {"domain": "job", "until": "exited"}),
        ("Flavors", {}),
        ("PoolStatus", {}),
        ("AddService", {"service": ADDED}),
        ("RemoveService", {"name": "web"}),
        ("Doctor", {}),
        ("Version", {}),
    ]
    assert daemon.connections == 1


@pytest.mark.parametrize("field", [*ASKED, None])
def test_all_that_a_create_is_asked_for_is_sent(
    start_daemon: StartDaemon, field: str | None
) -> None:
    asked = ASKED if field is None else {"image": "/k", field: ASKED[field]}
    daemon = start_daemon(answering(Create=calls.CreateReply(created=CREATED)))
    with Client(daemon.path) as daemon_client:
        daemon_client.create(**asked)
    sent = wire.decode_parameters(daemon.calls[0])
    assert sent == calls.CreateCall(request=CreateRequest(**asked))


def test_error_reply_is_raised_and_the_connection_goes_on(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=errors.NoSuchDomain("who?"), Pause=INFO))
    with Client(daemon.path) as daemon_client:
        with pytest.raises(errors.NoSuchDomain):
            daemon_client.info("x")
        assert daemon_client.pause("web-1") == DOMAIN
    assert daemon.connections == 1


def test_call_larger_than_the_socket_buffer_arrives_whole(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=INFO))
    with Client(daemon.path) as daemon_client:
        assert daemon_client.info("x" * (2 * 1024 * 1024)) == DOMAIN


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"nonsense\0", errors.ProtocolError),
        (wire.encode_reply(INFO, continues=True), errors.ProtocolError),
        (b'{"parameters":', errors.ConnectionLost),
        (b"", errors.ConnectionLost),
    ],
)
def test_broken_reply_is_an_error_and_the_next_call_has_a_new_connection(
    start_daemon: StartDaemon, reply: bytes, error: type[errors.LightVMError]
) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.send(reply)

    daemon = start_daemon(play, answering(Info=INFO))
    with Client(daemon.path) as daemon_client:
        with pytest.raises(error):
            daemon_client.info("web-1")
        assert daemon_client.info("web-1") == DOMAIN
    assert daemon.connections == 2


def test_over_long_reply_is_a_protocol_error(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.conversation.Framer", lambda: wire.Framer(limit=1000))

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.send(b'"' + b"x" * 1000)
        peer.wait_gone()

    daemon = start_daemon(play)
    with (
        Client(daemon.path) as daemon_client,
        pytest.raises(errors.ProtocolError, match="longer than 1000 bytes"),
    ):
        daemon_client.info("web-1")


def test_connection_that_is_reset_is_a_lost_connection(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.socket.recv(1)  # what is left unread makes the kernel send a reset

    daemon = start_daemon(play)
    with Client(daemon.path) as daemon_client, pytest.raises(errors.ConnectionLost):
        daemon_client.info("web-1")


def test_idle_connection_that_the_daemon_closed_is_replaced(start_daemon: StartDaemon) -> None:
    closed = threading.Event()

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(INFO)
        peer.socket.close()
        closed.set()

    daemon = start_daemon(play, answering(Info=INFO))
    with Client(daemon.path) as daemon_client:
        daemon_client.info("web-1")
        closed.wait()
        assert daemon_client.info("web-1") == DOMAIN
    assert daemon.connections == 2


def test_call_that_is_not_answered_in_time_is_an_error_and_the_next_one_is_good(
    start_daemon: StartDaemon,
) -> None:
    daemon = start_daemon(silent, answering(Info=INFO))
    with Client(daemon.path) as daemon_client:
        with pytest.raises(errors.TimedOut, match=r"did not answer within 0\.02 s"):
            daemon_client.within(SHORT_S).info("web-1")
        assert daemon_client.info("web-1") == DOMAIN
    assert daemon.connections == 2


def test_limit_is_for_the_call_and_not_for_each_of_its_bytes(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        while True:
            try:
                peer.send(b" ")
            except OSError:
                return  # the client gave up

    daemon = start_daemon(play)
    with Client(daemon.path, limit_s=SHORT_S) as daemon_client, pytest.raises(errors.TimedOut):
        daemon_client.info("web-1")


def test_send_that_takes_too_long_is_an_error(start_daemon: StartDaemon) -> None:
    finish = threading.Event()

    def play(peer: Peer) -> None:
        finish.wait()
        peer.wait_gone()

    daemon = start_daemon(play)
    with Client(daemon.path, limit_s=SHORT_S) as daemon_client:
        with pytest.raises(errors.TimedOut):
            daemon_client.info("x" * (4 * 1024 * 1024))
        finish.set()


def test_interrupted_call_does_not_poison_the_next(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    daemon = start_daemon(silent, answering(Info=INFO))
    with Client(daemon.path) as daemon_client:
        with monkeypatch.context() as patch:
            patch.setattr("lightvm.conversation.Conversation.feed", interrupt)
            patch.setattr("lightvm.conversation.Conversation.next_reply", interrupt)
            with pytest.raises(KeyboardInterrupt):
                daemon_client.info("web-1")
        assert daemon_client.info("web-1") == DOMAIN


def test_threads_share_a_client_without_waiting_for_each_other(start_daemon: StartDaemon) -> None:
    everybody = threading.Barrier(4)

    def play(peer: Peer) -> None:
        peer.next_call()
        everybody.wait()
        peer.answer(INFO)
        peer.wait_gone()

    daemon = start_daemon(play)
    with Client(daemon.path) as daemon_client, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(daemon_client.info, ["web-1"] * 4)) == [DOMAIN] * 4
    assert daemon.connections == 4


def test_closed_client_takes_no_calls(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Info=INFO))
    daemon_client = Client(daemon.path)
    daemon_client.close()
    with pytest.raises(RuntimeError, match="closed"):
        daemon_client.info("web-1")


def test_watch_is_in_place_when_its_block_is_entered(start_daemon: StartDaemon) -> None:
    event = Event(kind=EventKind.CREATED, at=1.0, domain=DOMAIN)
    daemon = start_daemon(answering(Watch=(calls.WatchReply(), calls.WatchReply(event=event))))
    with Client(daemon.path) as daemon_client, daemon_client.watch() as events:
        assert daemon.calls[0].more
        assert list(events) == [event]


def test_stream_that_ended_gives_its_connection_back(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(answering(Console=(CHUNK, CHUNK), Info=INFO))
    with Client(daemon.path) as daemon_client:
        with daemon_client.follow_console("web-1") as chunks:
            assert list(chunks) == [CHUNK, CHUNK]
        daemon_client.info("web-1")
    assert daemon.connections == 1


def test_stream_that_was_left_early_closes_its_connection(start_daemon: StartDaemon) -> None:
    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(CHUNK, continues=True)
        peer.wait_gone()

    daemon = start_daemon(play, answering(Info=INFO))
    with Client(daemon.path) as daemon_client:
        with daemon_client.follow_console("web-1") as chunks:
            assert next(chunks) == CHUNK
        with pytest.raises(RuntimeError, match="closed"):
            next(chunks)
        assert daemon_client.info("web-1") == DOMAIN


def test_error_in_a_stream_is_raised_and_ends_it(start_daemon: StartDaemon) -> None:
    result = CreateResult(index=0, created=CREATED)
    daemon = start_daemon(
        answering(
            CreateMany=(calls.CreateManyReply(results=(result,)), errors.StoppingNow("bye")),
            Info=INFO,
        )
    )
    with Client(daemon.path) as daemon_client:
        with daemon_client.iter_create_many([CreateRequest(image="/k")]) as results:
            assert next(results) == result
            with pytest.raises(errors.StoppingNow):
                next(results)
            assert list(results) == []
        assert daemon_client.info("web-1") == DOMAIN
    assert daemon.connections == 1


def test_limit_of_a_stream_is_from_one_reply_to_the_next(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = threading.Event()
    now = 0.0

    def play(peer: Peer) -> None:
        peer.next_call()
        peer.answer(CHUNK, continues=True)
        sent.set()
        peer.wait_gone()

    monkeypatch.setattr("lightvm.blocking_connection.time.monotonic", lambda: now)
    daemon = start_daemon(play)
    with (
        Client(daemon.path, limit_s=SHORT_S) as daemon_client,
        daemon_client.follow_console("web-1") as chunks,
    ):
        sent.wait()
        now = 100.0
        assert next(chunks) == CHUNK
        with pytest.raises(errors.TimedOut):
            next(chunks)


def test_making_one_raises_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(errors.NoDaemon, match="start lightvmd"):
        Client(tmp_path / "none")


def test_daemon_with_a_full_queue_is_waited_for_within_the_limit(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(0)
        with Client(tmp_path / "sock"), pytest.raises(errors.TimedOut):
            Client(tmp_path / "sock", limit_s=SHORT_S)


def test_daemon_with_a_queue_that_stays_full_is_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(0)
        with Client(tmp_path / "sock"), pytest.raises(errors.NoDaemon, match="overloaded"):
            Client(tmp_path / "sock")
    assert 1 < sum(slept) < 10
