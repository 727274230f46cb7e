"""The values that travel between LightVM's parts: the Python side of ``io.github.lightvm.varlink``.

Each class mirrors the type of the same name in the interface file, field by field (a unit test compares them).
All are immutable. Durations and sizes carry their unit in the name; moments are seconds since the epoch.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class State(StrEnum):
    """State of a domain; `READY` is the guest's own word over its control page."""

    RUNNING = "running"
    READY = "ready"
    PAUSED = "paused"
    EXITED = "exited"


class ExitReason(StrEnum):
    """Why a domain ended.

    The first four are Xen's shutdown codes (``xen/include/public/sched.h``); a triple fault counts as a crash.
    `DESTROYED` was asked for by a caller, `LOST` means that somebody else destroyed the domain.
    """

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    SUSPEND = "suspend"
    CRASH = "crash"
    DESTROYED = "destroyed"
    LOST = "lost"


class Source(StrEnum):
    """Where a created domain came from."""

    POOL = "pool"
    COLD = "cold"
    EXISTING = "existing"


class WaitFor(StrEnum):
    """What a caller can wait for."""

    RUNNING = "running"
    READY = "ready"
    EXITED = "exited"


class Power(StrEnum):
    """What a guest can be asked for."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    SUSPEND = "suspend"


class Policy(StrEnum):
    """What becomes of a domain that ends: as in xl.cfg's ``on_poweroff``, ``on_reboot`` and ``on_crash``.

    `DESTROY` gives its resources back, `RESTART` makes it anew under its name and addresses, `PRESERVE` keeps it in
    Xen, stopped, until it is destroyed.
    """

    DESTROY = "destroy"
    RESTART = "restart"
    PRESERVE = "preserve"


class Mode(StrEnum):
    """How a guest finds its devices: in the device page, or in XenStore, as any guest of Xen does."""

    NOXS = "noxs"
    XENSTORE = "xenstore"


class EventKind(StrEnum):
    """What can happen to a domain; `LOST_EVENTS` tells a slow watcher that `count` events were dropped."""

    CREATED = "created"
    READY = "ready"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    EXITED = "exited"
    DESTROYED = "destroyed"
    LOST_EVENTS = "lost_events"


class Verdict(StrEnum):
    """What Doctor thinks of a resource."""

    OK = "ok"
    LEAKED = "leaked"
    MISSING = "missing"
    FOREIGN = "foreign"


class _Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the values here: immutable, by keyword only.

    `frozen` and `kw_only` are repeated in each class: type checkers want the first, and msgspec
    does not inherit the second.
    """


class _Asked(_Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what callers send: an unknown field is refused, since it asks for something that would not be done.

    In a reply it is passed over, so that a newer daemon can tell more than an older client knows.
    """


class Exit(_Value, frozen=True, kw_only=True):
    """How a domain ended; `status` is there only when the guest reported one."""

    reason: ExitReason
    at: float
    status: int | None = None


class Vif(_Value, frozen=True, kw_only=True):
    """A network device of a domain: `mac` with colons, `ipv4` with the length of its prefix."""

    network: str
    mac: str
    ipv4: str | None = None


class NetRequest(_Asked, frozen=True, kw_only=True):
    """One network device that a create asks for; what is None the daemon chooses."""

    network: str
    mac: str | None = None
    ipv4: str | None = None


class Vbd(_Value, frozen=True, kw_only=True):
    """A disk of a domain, by the file or block device that it stands for."""

    path: str
    size_bytes: int
    readonly: bool


class DiskRequest(_Asked, frozen=True, kw_only=True):
    """One disk that a create asks for: an absolute path of a raw image or of a block device."""

    path: str
    readonly: bool | None = None


class Domain(_Value, frozen=True, kw_only=True):
    """A Xen domain that LightVM made for a caller."""

    name: str
    uuid: str
    domid: int
    state: State
    flavor: str
    image: str
    cmdline: str
    memory_kib: int
    vcpus: int
    created: float
    vifs: tuple[Vif, ...]
    vbds: tuple[Vbd, ...]
    mode: Mode
    cpus: tuple[str, ...] | None = None
    cpu_weight: int | None = None
    cpu_cap: int | None = None
    ready: float | None = None
    exit: Exit | None = None
    restarts: int | None = None
    heartbeat: int | None = None


class ForeignDomain(_Value, frozen=True, kw_only=True):
    """A domain of another toolstack, as Xen has it; `foreign` tells it from one of ours in a list of both."""

    uuid: str
    domid: int
    state: State
    memory_kib: int
    vcpus: int
    foreign: bool
    name: str | None = None

    def is_called(self, key: str) -> bool:
        """Whether this is its name, its UUID with dashes or without, or its domid."""
        return key in (self.name, str(self.domid)) or key.replace("-", "").lower() == (
            self.uuid.replace("-", "")
        )


class CreateRequest(_Asked, frozen=True, kw_only=True):
    """What one create asks for.

    `cpus` are the processors where the vCPUs may run, such as ``0-3,^1`` or ``all``: one entry for all vCPUs, or one
    for each. `cpu_weight` is relative to other domains (Xen's default is 256), `cpu_cap` in percent of one processor.
    `timeout_ms` bounds the wait for `wait`; it does not bound the creation, which has the daemon's own limit.
    """

    image: str
    name: str | None = None
    flavor: str | None = None
    mode: Mode | None = None
    memory_kib: int | None = None
    vcpus: int | None = None
    cpus: tuple[str, ...] | None = None
    cpu_weight: int | None = None
    cpu_cap: int | None = None
    cmdline: str | None = None
    modules: tuple[str, ...] | None = None
    nets: tuple[NetRequest, ...] | None = None
    disks: tuple[DiskRequest, ...] | None = None
    metadata: bytes | None = None
    paused: bool | None = None
    cold: bool | None = None
    on_poweroff: Policy | None = None
    on_reboot: Policy | None = None
    on_crash: Policy | None = None
    wait: WaitFor | None = None
    timeout_ms: int | None = None
    token: str | None = None

    @property
    def is_scheduled(self) -> bool:
        """Whether it says anything about processors."""
        return self.cpus is not None or self.cpu_weight is not None or self.cpu_cap is not None


class Phases(_Value, frozen=True, kw_only=True):
    """How long each phase of a create took, in microseconds."""

    prepare_us: int
    load_us: int
    journal_us: int
    unpause_us: int
    total_us: int
    ready_us: int | None = None


class Created(_Value, frozen=True, kw_only=True):
    """The outcome of a create."""

    domain: Domain
    source: Source
    phases: Phases


class Failure(_Value, frozen=True, kw_only=True):
    """An error as a value, in the results of CreateMany."""

    code: str
    message: str
    where: str | None = None


class CreateResult(_Value, frozen=True, kw_only=True):
    """One result of CreateMany: `created` or `failure`."""

    index: int
    created: Created | None = None
    failure: Failure | None = None


class Flavor(_Value, frozen=True, kw_only=True):
    """A shape of domain for which shells are kept ready, between `low` and `high` of them."""

    name: str
    memory_kib: int
    vcpus: int
    low: int
    high: int
    networks: tuple[str, ...]
    disks: int
    mode: Mode


class Pool(_Value, frozen=True, kw_only=True):
    """The state of one flavor's pool, and its counters since the daemon started.

    `tickets` are those of the `shells` that are ready for what is asked most; `instant` those of the `hits` whose
    reply was ready before their call.
    """

    flavor: str
    shells: int
    tickets: int
    low: int
    high: int
    hits: int
    instant: int
    misses: int
    prepared: int
    discarded: int
    last_error: str | None = None


class ServiceStatus(_Value, frozen=True, kw_only=True):
    """A service, and its counters since the daemon started.

    `requests` are frames that asked for a domain where there was none, `live` the domains that run now.
    """

    name: str
    network: str
    requests: int
    created: int
    failed: int
    destroyed: int
    live: int


class ServiceRequest(_Asked, frozen=True, kw_only=True):
    """A service to add, with the keys of ``[services.NAME]``; what is None has the default of the configuration."""

    name: str
    image: str
    network: str
    addresses: tuple[str, ...]
    flavor: str | None = None
    cmdline: str | None = None
    metadata: str | None = None
    idle_seconds: float | None = None
    most: int | None = None


class Event(_Value, frozen=True, kw_only=True):
    """Something that happened to a domain."""

    kind: EventKind
    at: float
    domain: Domain | None = None
    count: int | None = None


class Finding(_Value, frozen=True, kw_only=True):
    """One resource found by Doctor: `kind` is domain, shell, vif, vbd, xenstore, console or journal."""

    kind: str
    verdict: Verdict
    what: str
    detail: str


class ConsoleChunk(_Value, frozen=True, kw_only=True):
    """Console bytes: `data`, base64 on the wire only, and `next`, the offset of the byte after it.

    `writer` is the word by which he who attached may write.
    """

    data: bytes
    offset: int
    next: int
    lost: int
    ended: bool
    writer: str | None = None


class Version(_Value, frozen=True, kw_only=True):
    """What is running here: `domctl` and `sysctl` are Xen's interface versions as probed."""

    version: str
    xen: str
    domctl: int
    sysctl: int
    uptime_s: float
    domains: int
    shells: int
