"""Replies, and what stands for a daemon that sends them."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from lightvm import calls
from lightvm.model import Created, Domain, Exit, ExitReason, Phases, Source, Vbd, Vif
from tests.native_lvm import Done
from tests.unit.samples import DOMAIN
from tests.unit.scripted import Peer, Play, ScriptedDaemon

Both = Callable[..., tuple[Done, list[ScriptedDaemon]]]

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
