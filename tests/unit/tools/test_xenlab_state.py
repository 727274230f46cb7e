"""Labs on record: found again, ended surely, never confused."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
from xenlab import lab as lab_module
from xenlab import running
from xenlab.errors import LabError
from xenlab.image import Image
from xenlab.lab import Lab
from xenlab.process import ProcessId
from xenlab.qemu import Shape
from xenlab.running import end_abandoned_labs, end_lab, start_lab
from xenlab.state import LabState, lab_directory, list_labs, read_state, write_state
from xenlab.suites import find_suite

SHAPE = Shape(suite=find_suite("bookworm"), memory="4096M", cpus=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTVM_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def qemu():
    """A process that stands for QEMU: it runs until it is ended."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def make_state(qemu, name="one", owner=None, ready=True):
    state = LabState(
        name=name,
        suite="bookworm",
        memory="4096M",
        cpus=1,
        image="bookworm-1",
        qemu=ProcessId.of(qemu.pid),
        owner=owner,
        port=1234,
        started=0.0,
        ready=ready,
    )
    lab_directory(name).mkdir(parents=True)
    write_state(state)
    return state


def test_a_record_comes_back_as_it_was_written(qemu):
    state = make_state(qemu, owner=ProcessId.of(os.getpid()))
    assert read_state("one") == state
    assert list_labs() == ["one"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"owner": 1, "qemu": 2}', "null"])
def test_a_broken_record_counts_as_none(cache, text):
    (cache / "labs" / "one").mkdir(parents=True)
    (cache / "labs" / "one" / "lab.json").write_text(text)
    assert read_state("one") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-x", "x" * 49, "ü"])
def test_a_name_that_is_no_plain_word_is_refused(name):
    with pytest.raises(LabError) as caught:
        Lab(name)
    assert caught.value.code == "bad-name"


def test_ending_a_lab_ends_its_process_and_removes_its_files(cache, qemu):
    make_state(qemu)
    end_lab("one")
    assert qemu.wait(5) == -15
    assert list_labs() == []


def test_ending_a_lab_twice_is_no_error():
    end_lab("one")


def test_ending_a_lab_spares_a_process_that_inherited_the_pid(qemu):
    state = make_state(qemu)
    write_state(replace(state, qemu=ProcessId(pid=qemu.pid, start_ticks=1)))
    end_lab("one")
    assert qemu.poll() is None


def test_a_lab_whose_owner_is_gone_is_ended(qemu):
    make_state(qemu, owner=ProcessId(pid=os.getpid(), start_ticks=1))
    end_abandoned_labs()
    assert list_labs() == []
    assert qemu.wait(5) == -15


def test_a_lab_without_owner_or_with_a_live_one_stays(qemu):
    make_state(qemu, name="free")
    make_state(qemu, name="owned", owner=ProcessId.of(os.getpid()))
    end_abandoned_labs()
    assert list_labs() == ["free", "owned"]


def test_a_start_that_fails_leaves_no_process_and_keeps_the_logs(cache, qemu, monkeypatch):
    def lay_out(directory, image, snapshot):
        (directory / "serial.log").write_text("the story so far")

    def bring_up(directory, image, process, start, *, preallocated):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "lay_out", lay_out)
    monkeypatch.setattr(running, "start_qemu", lambda directory, shape, start: qemu)
    monkeypatch.setattr(running, "bring_up", bring_up)
    with pytest.raises(KeyboardInterrupt):
        start_lab("one", SHAPE, Image(directory=cache, key="k"), None, owned=False)
    assert qemu.wait(5) == -15
    assert list_labs() == []
    assert (cache / "failed" / "one" / "serial.log").read_text() == "the story so far"


def test_commands_on_a_lab_that_is_not_there_say_so(qemu):
    with pytest.raises(LabError) as caught:
        Lab.find("one")
    assert caught.value.code == "not-running"
    make_state(qemu)
    qemu.kill()
    qemu.wait()
    with pytest.raises(LabError) as caught:
        Lab.find("one")
    assert caught.value.code == "lab-died"


@pytest.mark.parametrize(
    ("options", "owned"),
    [
        ({"memory": "8G"}, False),
        ({"fresh": True}, False),
        ({"one_thread": True}, False),
        ({}, True),
    ],
)
def test_a_running_lab_is_not_taken_for_a_different_one(qemu, monkeypatch, options, owned):
    monkeypatch.setattr(lab_module, "require_programs", lambda programs, assume_yes: None)
    monkeypatch.setattr(lab_module, "open_image", lambda suite, mirror, assume_yes: None)
    monkeypatch.setattr(lab_module, "open_snapshot", lambda image, shape: None)
    make_state(qemu)
    same = {"suite": "bookworm", "memory": "4G", "cpus": 1}
    Lab("one", **same).up()
    with pytest.raises(LabError) as caught:
        Lab("one", **(same | options)).up(owned=owned)
    assert caught.value.code == "already-running"
    assert qemu.poll() is None
