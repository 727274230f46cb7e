"""QEMU's command line and its control socket."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from xenlab.errors import LabError
from xenlab.lab import Lab
from xenlab.qemu import Shape, Start, parse_memory, qemu_command, qemu_complaint, read_ssh_port
from xenlab.qmp import Qmp
from xenlab.suites import find_suite

SHAPE = Shape(suite=find_suite("bookworm"), memory="16384M", cpus=2)


@pytest.mark.parametrize(
    ("text", "size"), [("16G", "16384M"), ("16GiB", "16384M"), ("4096M", "4096M"), ("3GB", "3072M")]
)
def test_memory_sizes_are_understood(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "16", "0G", "-4G", "16T", "2G", "16G,mem-path=/x", "1e9M"])
def test_other_memory_sizes_are_refused(text):
    with pytest.raises(LabError) as caught:
        parse_memory(text)
    assert caught.value.code == "bad-memory"


def test_an_unknown_suite_is_refused():
    with pytest.raises(LabError) as caught:
        find_suite("potato")
    assert caught.value.code == "no-such-suite"


def test_only_the_machine_to_be_saved_writes_to_the_memory_file():
    def memory(start):
        return next(a for a in qemu_command(SHAPE, start) if "id=ram" in a)

    assert "share=on" in memory(Start.SAVE)
    assert "share=off" in memory(Start.RESUME)
    assert "mem-path" not in memory(Start.FRESH)


def test_memory_can_be_there_before_a_machine_starts_from_power_on():
    preallocated = replace(SHAPE, preallocated=True)
    command = " ".join(qemu_command(preallocated, Start.FRESH))
    assert "prealloc=on" in command
    assert "reserve=off" not in command  # QEMU takes but one of them
    assert "prealloc=on" not in " ".join(qemu_command(SHAPE, Start.FRESH))
    for start in (Start.SAVE, Start.RESUME):
        assert qemu_command(preallocated, start) == qemu_command(SHAPE, start)
    assert Lab("preallocated", preallocated=True).fresh


def test_a_clock_that_counts_instructions_has_one_thread_that_executes_them():
    command = " ".join(qemu_command(replace(SHAPE, instructions=True), Start.FRESH))
    assert "-icount shift=0,sleep=off" in command
    assert "thread=single" in command
    assert "-icount" not in qemu_command(SHAPE, Start.FRESH)


def test_a_lab_of_one_thread_starts_from_what_others_start_from():
    one_thread = replace(SHAPE, one_thread=True)
    for start in (Start.FRESH, Start.RESUME):
        assert "thread=single" in " ".join(qemu_command(one_thread, start))
        assert "thread=multi" in " ".join(qemu_command(SHAPE, start))
    assert qemu_command(one_thread, Start.SAVE) == qemu_command(SHAPE, Start.SAVE)


def test_the_ssh_server_is_forwarded_to_loopback_alone():
    command = " ".join(qemu_command(SHAPE, Start.FRESH))
    assert "hostfwd=tcp:127.0.0.1:0-10.0.2.15:22" in command


def test_the_last_word_of_qemu_is_its_complaint(tmp_path):
    assert qemu_complaint(tmp_path) == "QEMU ended without a word"
    (tmp_path / "qemu.log").write_text("warning\nqemu: cannot\n")
    assert qemu_complaint(tmp_path) == "qemu: cannot"


@contextmanager
def fake_qemu(directory, *answers):
    """Serve one connection: the greeting, then one canned answer for each request."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(directory / "qmp.sock"))
    server.listen()
    requests = []

    def serve():
        connection, _ = server.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b'{"QMP": {}}\n')
            stream.flush()
            for answer in (b'{"return": {}}\n', *answers):
                requests.append(json.loads(stream.readline() or b"{}"))
                stream.write(answer)
                stream.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield requests
    finally:
        thread.join(5)
        server.close()


def test_events_before_an_answer_are_skipped(tmp_path):
    answer = b'{"event": "STOP"}\n{"event": "RESUME"}\n{"return": {"status": "running"}}\n'
    with fake_qemu(tmp_path, answer) as requests, Qmp(tmp_path) as qmp:
        assert qmp.execute("query-status", x=1) == {"status": "running"}
    assert requests[0]["execute"] == "qmp_capabilities"
    assert requests[1] == {"execute": "query-status", "arguments": {"x": 1}}


def test_a_refusal_says_what_was_refused_and_why(tmp_path):
    answer = b'{"error": {"class": "GenericError", "desc": "no such thing"}}\n'
    with fake_qemu(tmp_path, answer), Qmp(tmp_path) as qmp:
        with pytest.raises(LabError) as caught:
            qmp.execute("migrate")
    assert str(caught.value) == "qemu-refused: migrate: no such thing"


def test_a_closed_socket_is_a_dead_qemu(tmp_path):
    with fake_qemu(tmp_path), Qmp(tmp_path) as qmp:
        with pytest.raises(LabError) as caught:
            qmp.execute("query-status")
    assert caught.value.code == "qemu-died"


def test_a_silent_qemu_is_a_timeout(tmp_path):
    with fake_qemu(tmp_path, b"", b""), Qmp(tmp_path, timeout=0.05) as qmp:
        with pytest.raises(LabError) as caught:
            qmp.execute("query-status")
    assert caught.value.code == "timeout"


def test_waiting_for_a_status_has_an_end(tmp_path):
    answers = [b'{"return": {"status": "active"}}\n'] * 2
    with fake_qemu(tmp_path, *answers), Qmp(tmp_path) as qmp:
        with pytest.raises(LabError) as caught:
            qmp.wait_status("query-migrate", {"completed"}, {"failed"}, timeout=0.01)
    assert caught.value.code == "timeout"
    assert "active" in str(caught.value)


def test_a_failed_status_is_an_error_at_once(tmp_path):
    with fake_qemu(tmp_path, b'{"return": {"status": "failed"}}\n'), Qmp(tmp_path) as qmp:
        with pytest.raises(LabError, match="failed"):
            qmp.wait_status("query-migrate", {"completed"}, {"failed"}, timeout=60)


def test_the_socket_is_reached_however_long_its_path(tmp_path, monkeypatch):
    directory = tmp_path / ("long" * 40)
    directory.mkdir()
    monkeypatch.chdir(directory)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind("qmp.sock")
    server.listen()
    monkeypatch.chdir("/")
    with pytest.raises(LabError) as caught:
        Qmp(directory, timeout=0.05)
    assert caught.value.code == "timeout"  # it got through, and nobody answered
    server.close()


def test_the_port_is_read_from_qemu(tmp_path):
    shown = "Hub -1 (net):\r\n  TCP[HOST_FORWARD]  13  127.0.0.1 43211  10.0.2.15  22  0  0\r\n"
    answer = json.dumps({"return": shown}).encode() + b"\n"
    with fake_qemu(tmp_path, answer), Qmp(tmp_path) as qmp:
        assert read_ssh_port(qmp) == 43211
