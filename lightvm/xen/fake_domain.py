"""Domains of the hypervisor in memory, and how it describes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightvm.xen.device_page import VBDS_MAX, VIFS_MAX
from lightvm.xen.domain_info import DomainInfo
from lightvm.xen.hypervisor import Boot, Control, Scheduling, Shape

_SILENT = Control(0, 0, 0, 0, 0)


@dataclass(slots=True)
class FakeDomain:
    """A domain of the fake; tests may look at it and change it."""

    domid: int
    uuid: bytes
    shape: Shape
    boot: Boot | None = None
    scheduling: Scheduling | None = None
    cpupool: int = 0
    paused: bool = True
    started: bool = False
    input: bytearray = field(default_factory=bytearray)
    shutdown_code: int | None = None
    console: bytearray = field(default_factory=bytearray)
    control: Control = _SILENT
    watched: bool = False
    flooding: bool = False
    corrupt: bool = False
    handle: FakeHandle | None = None


@dataclass(slots=True, eq=False)
class FakeHandle:
    """A held fake domain."""

    domid: int
    console_event: int
    control_event: int
    console_port: int = 1
    control_port: int = 2
    vif_ports: tuple[int, ...] = ()
    vbd_ports: tuple[int, ...] = ()
    store_port: int = 0
    window: bool = True


def is_good(shape: Shape) -> bool:
    """Whether Xen would make a domain of that shape."""
    memory = shape.memory_kib >= 1024 and shape.memory_kib % 4 == 0
    window = 8 <= shape.window_kib <= shape.memory_kib and shape.window_kib % 4 == 0
    pool = shape.pool_kib >= 64 and shape.pool_kib % 4 == 0
    devices = 0 <= shape.vifs <= VIFS_MAX and 0 <= shape.vbds <= VBDS_MAX
    ports = shape.max_evtchn >= 3 + shape.vifs + shape.vbds + shape.xenstore
    return (
        memory
        and window
        and pool
        and devices
        and ports
        and shape.max_grant_frames >= 1
        and 1 <= shape.vcpus <= 128
    )


def describe(domain: FakeDomain) -> DomainInfo:
    """Return a domain as Xen lists it."""
    return DomainInfo(
        domid=domain.domid,
        uuid=domain.uuid,
        memory_kib=domain.shape.memory_kib,
        vcpus=domain.shape.vcpus,
        cpu_ns=int(domain.started),
        paused=domain.paused,
        dying=False,
        shutdown=domain.shutdown_code is not None,
        shutdown_code=domain.shutdown_code or 0,
    )


def gone(domid: int, uuid: bytes) -> DomainInfo:
    """Return a domain that is not there any more."""
    return DomainInfo(
        domid=domid,
        uuid=uuid,
        memory_kib=0,
        vcpus=0,
        cpu_ns=0,
        paused=False,
        dying=True,
        shutdown=False,
        shutdown_code=0,
        gone=True,
    )
