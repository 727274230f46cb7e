"""Values for tests that need some."""

from __future__ import annotations

from typing import Any

from lightvm.calls import DomainReply
from lightvm.model import (
    ConsoleChunk,
    Created,
    DiskRequest,
    Domain,
    Event,
    EventKind,
    Exit,
    ExitReason,
    Mode,
    NetRequest,
    Phases,
    Policy,
    Source,
    State,
    Version,
    WaitFor,
)

DOMAIN = Domain(
    name="web-1",
    uuid="6f1c2a5e-0d0b-4d0e-9f5c-2f4b8f3f9a01",
    domid=12,
    state=State.RUNNING,
    flavor="tiny",
    image="/srv/kernels/web",
    cmdline="quiet",
    memory_kib=4096,
    vcpus=1,
    created=1_700_000_000.0,
    vifs=(),
    vbds=(),
    mode=Mode.NOXS,
)

EXITED = Domain(
    name="job",
    uuid="6f1c2a5e-0d0b-4d0e-9f5c-2f4b8f3f9a02",
    domid=13,
    state=State.EXITED,
    flavor="tiny",
    image="/srv/kernels/job",
    cmdline="",
    memory_kib=524288,
    vcpus=2,
    created=1_700_000_000.0,
    vifs=(),
    vbds=(),
    mode=Mode.NOXS,
    ready=1_700_000_001.5,
    exit=Exit(reason=ExitReason.POWEROFF, at=1_700_000_002.25, status=7),
)

CREATED = Created(
    domain=DOMAIN,
    source=Source.POOL,
    phases=Phases(prepare_us=0, load_us=100, journal_us=50, unpause_us=60, total_us=412),
)

VERSION = Version(
    version="0.1.0", xen="4.17.5", domctl=0x15, sysctl=0x15, uptime_s=7200.0, domains=2, shells=8
)

CHUNK = ConsoleChunk(data=b"hello\n", offset=0, next=6, lost=0, ended=False)

ADDED = {
    "name": "web",
    "image": "/k",
    "network": "lan",
    "addresses": ["10.0.0.2"],
    "idle_seconds": 2.5,
}
"""A service as a client sends it."""

INFO = DomainReply(domain=DOMAIN)
CREATED_EVENT = Event(kind=EventKind.CREATED, at=1.0, domain=DOMAIN)

ASKED: dict[str, Any] = {
    "image": "/k",
    "name": "web",
    "flavor": "tiny",
    "mode": Mode.NOXS,
    "memory_kib": 4096,
    "vcpus": 2,
    "cpus": ("0", "1"),
    "cpu_weight": 300,
    "cpu_cap": 70,
    "cmdline": "quiet",
    "modules": ("/m",),
    "nets": (NetRequest(network="lan"),),
    "disks": (DiskRequest(path="/d"),),
    "metadata": b"data",
    "paused": False,
    "cold": True,
    "on_poweroff": Policy.PRESERVE,
    "on_reboot": Policy.RESTART,
    "on_crash": Policy.DESTROY,
    "wait": WaitFor.READY,
    "timeout_ms": 500,
    "token": "once",
}
"""All that a create can be asked for."""
