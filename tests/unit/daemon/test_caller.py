"""Whoever made a call."""

from __future__ import annotations

import os
import socket
from functools import partial

import pytest
import trio

from lightvm.daemon.caller import Caller


@pytest.mark.parametrize("deaf", [False, True])
def test_whoever_is_told_may_go_on_before_the_rest_is_done(
    monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    told, heard = [], b"" if deaf else b"reply"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        monkeypatch.setattr(os, "sched_yield", partial(_receive, theirs, told))
        caller = Caller(ours, None, trio.Event(), deaf=deaf)
        caller.tell_reply(b"reply")
    assert caller.unsent == b""
    assert told == [heard]


def _receive(peer: socket.socket, told: list[bytes]) -> None:
    try:
        told.append(peer.recv(100))
    except BlockingIOError:
        told.append(b"")
