"""Each thread that runs a processor of a lab gets one processor of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from xenlab.errors import LabError
from xenlab.pinning import pin_processors, processor_threads
from xenlab.process import ProcessId
from xenlab.qmp import Qmp


class Answering(Qmp):
    """What QEMU would say about its processors."""

    def __init__(self, answer: object, main: ProcessId | None = None) -> None:
        self.answer = answer
        self.main = main

    def peer(self) -> ProcessId | None:
        return self.main

    def execute(self, command: str, **arguments: object) -> object:
        assert command == "query-cpus-fast"
        assert not arguments
        return self.answer


@contextmanager
def running() -> Iterator[int]:
    """Have a thread, and yield its number."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        yield thread.native_id
    finally:
        done.set()
        thread.join()


def about(*threads: int) -> list[dict[str, int]]:
    return [{"cpu-index": index, "thread-id": thread} for index, thread in enumerate(threads)]


def test_no_two_share_one() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        threads = [stack.enter_context(running()) for _ in allowed]
        assert pin_processors(Answering(about(*threads)))
        assert [os.sched_getaffinity(thread) for thread in threads] == [{each} for each in allowed]
    assert sorted(os.sched_getaffinity(0)) == allowed


@pytest.mark.parametrize("allowed", [True, False])
def test_the_main_thread_comes_first_where_it_may(
    monkeypatch: pytest.MonkeyPatch, *, allowed: bool
) -> None:
    asked: list[tuple[int, int, int]] = []

    def schedule(pid: int, policy: int, param: os.sched_param) -> None:
        asked.append((pid, policy, param.sched_priority))
        if not allowed:
            raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", schedule)
    with running() as thread:
        assert pin_processors(Answering(about(thread), main=ProcessId.of(os.getpid())))
    assert asked == [(os.getpid(), os.SCHED_FIFO, 1)]


def test_a_host_of_too_few_changes_nothing() -> None:
    allowed = os.sched_getaffinity(0)
    with ExitStack() as stack:
        threads = [stack.enter_context(running()) for _ in range(len(allowed) + 1)]
        assert not pin_processors(Answering(about(*threads)))
        assert all(os.sched_getaffinity(thread) == allowed for thread in threads)


def test_threads_are_in_the_order_of_their_processors() -> None:
    assert processor_threads(Answering(about(9, 8, 7)[::-1])) == [9, 8, 7]


def test_a_thread_that_runs_several_is_one() -> None:
    assert processor_threads(Answering(about(9, 9))) == [9]


@pytest.mark.parametrize("bad", [None, [3], [{}], [{"cpu-index": 0, "thread-id": "x"}]])
def test_an_answer_of_another_form_is_an_error(bad: object) -> None:
    with pytest.raises(LabError, match="processors"):
        pin_processors(Answering(bad))
