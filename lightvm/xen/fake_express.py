"""What ``native/src/express.c`` does, over a hypervisor in memory."""

from __future__ import annotations

import os
import time
from typing import cast

from msgspec.structs import replace

from lightvm.errors import LightVMError
from lightvm.xen.express import BLANKS, Attended, Desk, Form, Stage, Ticket
from lightvm.xen.hypervisor import Hypervisor

_RECEIVE_BYTES = 65536
_DURATION_WIDTH = 10


def attend(hypervisor: Hypervisor, desk: Desk) -> Attended:
    """Wait for one client, and carry out its create where that is on offer."""
    ready = desk.epoll.poll(desk.seconds)
    fds = [fd for fd, _ in ready]
    here = desk.peer.fileno() in fds
    if not ready:
        return Attended(stage=Stage.NOBODY, alone=True)
    if not here:
        return Attended(stage=Stage.OTHERS)
    alone = len(fds) == 1
    try:
        data = desk.peer.recv(_RECEIVE_BYTES)
    except BlockingIOError:
        return Attended(stage=Stage.NOBODY, alone=alone)
    for taken, offer in enumerate(desk.offers):
        ticket = cast("Ticket", offer.ticket)
        if data == offer.call + b"\0" and _is_same_file(ticket):
            return replace(_serve(hypervisor, desk, ticket, data, taken), alone=alone)
    return Attended(stage=Stage.SAID, alone=alone, data=data)


def _is_same_file(ticket: Ticket) -> bool:
    try:
        status = os.stat(ticket.path)
    except OSError:
        return False
    return ticket.identity == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _serve(hypervisor: Hypervisor, desk: Desk, ticket: Ticket, data: bytes, taken: int) -> Attended:
    begun = time.perf_counter_ns()
    handle, journalled = ticket.handle, 0
    try:
        loaded = hypervisor.load(handle, ticket.boot, watched=True)
        record = fill(ticket.record, created=loaded + desk.offset_ns)
        journalled = len(record)
        desk.journal[desk.end : desk.end + journalled] = record
        asked, running = hypervisor.unpause(handle)
    except LightVMError as exc:
        return Attended(
            stage=Stage.SPOILT,
            data=data,
            taken=taken,
            journalled=journalled,
            error=exc,
        )
    heard = hypervisor.spin_control(handle, desk.spin_us)
    unsent, stage = b"", Stage.RUNNING
    if heard and hypervisor.read_control(handle).ready == 1:
        stage = Stage.ANSWERED
        reply = fill(
            ticket.reply,
            created=loaded + desk.offset_ns,
            ready=heard + desk.offset_ns,
            load_us=loaded - begun,
            journal_us=asked - loaded,
            unpause_us=running - asked,
            ready_us=heard - running,
            total_us=heard - begun,
        )
        unsent = reply[_send(desk, reply) :]
    return Attended(
        stage=stage,
        data=data,
        taken=taken,
        journalled=journalled,
        unsent=unsent,
        begun=begun,
        loaded=loaded,
        asked=asked,
        running=running,
        heard=heard or time.perf_counter_ns(),
    )


def _send(desk: Desk, reply: bytes) -> int:
    """Write a reply; returns how much of it needs no more writing, which is all where nobody is there any more."""
    try:
        return desk.peer.send(reply)
    except BlockingIOError:
        return 0
    except OSError:
        return len(reply)


def fill(form: Form, **moments: int) -> bytes:
    """Return a form with its blanks filled; moments are in nanoseconds, those in `created` and `ready` since 1970."""
    data = bytearray(form.data)
    for name in BLANKS:
        place, ns = getattr(form, name), moments.get(name, 0)
        if not place:
            continue
        us = ns // 1000
        if name in ("created", "ready"):
            text = f"{us // 1000000:010d}.{us % 1000000:06d}"
        else:
            text = f"{us:{_DURATION_WIDTH}d}"
        data[place : place + len(text)] = text.encode()
    return bytes(data)
