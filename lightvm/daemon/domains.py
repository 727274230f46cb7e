"""The domains that this daemon answers for, and how they are found."""

from __future__ import annotations

import random
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import trio
from msgspec.structs import replace

from lightvm.daemon.console import ConsoleBuffer
from lightvm.daemon.journal import DomainRecord
from lightvm.errors import BadRequest, NameTaken, NoSuchDomain
from lightvm.model import Domain, Exit, ExitReason, Policy, State
from lightvm.xen.domain_info import Watched
from lightvm.xen.hypervisor import Handle

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_UUID_LENGTH = 36
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


# Before Python 3.12 an attribute of an enumeration costs as much as a call.
RUNNING, READY, PAUSED, EXITED = State.RUNNING, State.READY, State.PAUSED, State.EXITED

EVENT_BUDGET = 16384
"""Console bytes that a guest may write per `lightvm.daemon.pump.BUDGET_SECONDS`, each event counting for some; then its
channels stay masked for a while, so that no guest can keep dom0 busy."""


def check_name(name: str) -> None:
    """Raise `BadRequest` where a name could not be a domain's, or could be taken for a domid or a UUID."""
    if not _NAME.fullmatch(name):
        raise BadRequest(
            "1 to 63 letters, digits, '.', '_' and '-', the first a letter or digit",
            "request.name",
        )
    if name.isdigit() or _UUID.fullmatch(name):
        raise BadRequest("a name may look neither like a domid nor like a UUID", "request.name")


class LiveDomain:
    """A domain with its state. Whatever changes it in Xen holds `lock`."""

    __slots__ = (
        "_lock",
        "_lot",
        "_watched",
        "acknowledged",
        "addresses_free",
        "console",
        "corrupt",
        "destroyed",
        "event_budget",
        "exit",
        "handle",
        "handled",
        "paused",
        "ready",
        "record",
        "stuck",
        "uuid",
        "writer",
    )

    def __init__(
        self,
        record: DomainRecord,
        handle: Handle | None,
        console: ConsoleBuffer,
        uuid: str | None = None,
    ) -> None:
        self.record = record
        self.uuid = uuid or dashed(record.uuid)
        """The same as its record's, in the form that callers see."""
        self.handle = handle
        """None once the domain's mappings and channels have been given back."""
        self.console = console
        self._lock: trio.Lock | None = None
        self.paused = False
        self.ready: float | None = None
        self.exit: Exit | None = None
        self.destroyed = False
        """Whether Xen has let go of it: from then on its domid may be somebody else's."""
        self.corrupt = False
        """Whether its console has had impossible indices."""
        self.stuck = False
        """Whether giving it back has failed."""
        self.acknowledged = 0
        """The last request that its guest has heard."""
        self.handled = False
        """Whether somebody waits for its end who restarts it by himself."""
        self.writer: str | None = None
        """The word of him who has its console's input."""
        self.addresses_free = False
        """Whether its addresses may be another domain's."""
        self.event_budget = EVENT_BUDGET
        self._lot: trio.lowlevel.ParkingLot | None = None
        self._watched: tuple[bool, Watched] | None = None

    @property
    def watched(self) -> Watched:
        """What it should be in Xen, made once: the reaper asks for it often, of each domain."""
        paused = self.paused
        if self._watched is None or self._watched[0] is not paused:
            record = self.record
            self._watched = paused, Watched(record.domid, bytes.fromhex(record.uuid), paused)
        return self._watched[1]

    @property
    def lock(self) -> trio.Lock:
        """Held by whatever changes it in Xen; like the lot, not made before it is needed."""
        if self._lock is None:
            self._lock = trio.Lock()
        return self._lock

    @property
    def state(self) -> State:
        """The state as callers see it."""
        if self.exit is not None:
            return EXITED
        if self.paused:
            return PAUSED
        return RUNNING if self.ready is None else READY

    def describe(self) -> Domain:
        """Return the domain as a value."""
        record = self.record
        request = record.request
        domain = Domain(
            name=record.name,
            uuid=self.uuid,
            domid=record.domid,
            state=self.state,
            flavor=record.flavor,
            image=request.image,
            cmdline=request.cmdline or "",
            memory_kib=record.memory_kib,
            vcpus=record.vcpus,
            created=record.created,
            vifs=record.vifs,
            vbds=record.vbds,
            mode=record.mode,
            ready=self.ready,
            exit=self.exit,
        )
        if not record.restarts and not request.is_scheduled:
            return domain
        return replace(
            domain,
            cpus=request.cpus or None,
            cpu_weight=request.cpu_weight,
            cpu_cap=request.cpu_cap,
            restarts=record.restarts or None,
        )

    @property
    def policy(self) -> Policy:
        """What its owner wants of it now that it has exited."""
        reason = None if self.exit is None else self.exit.reason
        request = self.record.request
        if reason is ExitReason.POWEROFF:
            return request.on_poweroff or Policy.DESTROY
        if reason is ExitReason.REBOOT:
            return request.on_reboot or Policy.RESTART
        return (reason is ExitReason.CRASH and request.on_crash) or Policy.DESTROY

    @property
    def silent(self) -> bool:
        """Whether no more console output can come."""
        return self.exit is not None and (self.handle is None or self.stuck)

    async def wait_output(self, offset: int) -> None:
        """Wait until there is console output beyond an offset, or none can come any more."""
        await self.wait_until(lambda: self.console.end > offset or self.silent)

    def changed(self) -> None:
        """Wake all that wait for a change of state or for console output."""
        if self._lot is not None:
            self._lot.unpark_all()

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until a condition holds. A checkpoint only where it does not hold yet."""
        while not reached():
            if self._lot is None:
                self._lot = trio.lowlevel.ParkingLot()
            await self._lot.park()


def dashed(uuid: str) -> str:
    """Return a UUID in its usual form."""
    return f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"


class Registry:
    """All domains: live ones by UUID, name and domid; exited ones kept within a bound."""

    def __init__(self, *, keep_exited: int, keep_exited_seconds: float) -> None:
        self.live: dict[str, LiveDomain] = {}
        self.exited: OrderedDict[str, LiveDomain] = OrderedDict()
        self.tokens: dict[str, LiveDomain | trio.Event] = {}
        """Who has a token: a domain, or the request that is making one, as an event for those who wait for it."""
        self._by_name: dict[str, LiveDomain | None] = {}
        self._by_domid: dict[int, LiveDomain] = {}
        self._keep = keep_exited
        self._keep_seconds = keep_exited_seconds
        self._last_name = random.getrandbits(40)  # no secret, but seldom one of an earlier daemon

    def __len__(self) -> int:
        return len(self.live)

    def reserve(self, name: str | None) -> str:
        """Take a name for a domain to come, by default a new one, and return it; raises `NameTaken`."""
        if name is None:
            name = self.suggest()
        elif name in self._by_name:
            raise NameTaken("another domain has that name", name)
        self._by_name[name] = None
        return name

    def is_free(self, name: str) -> bool:
        """Whether nobody has that name."""
        return name not in self._by_name

    def suggest(self) -> str:
        """Return a name that nobody has, without taking it."""
        while True:
            self._last_name = (self._last_name + 1) % (1 << 40)
            name = f"vm-{self._last_name:010x}"
            if name not in self._by_name:
                return name

    def unreserve(self, name: str) -> None:
        """Give a reserved name back; does nothing once a domain has it."""
        if self._by_name.get(name, self) is None:
            del self._by_name[name]

    def add(self, domain: LiveDomain) -> None:
        """Enter a live domain."""
        record = domain.record
        self.live[record.uuid] = domain
        self._by_name[record.name] = domain
        self._by_domid[record.domid] = domain
        self._keep_token(domain)

    @asynccontextmanager
    async def hold_token(self, token: str) -> AsyncIterator[LiveDomain | None]:
        """Hold a token: yields its domain, or None to him who is to make it; the others wait for him."""
        while isinstance(holder := self.tokens.get(token), trio.Event):
            await holder.wait()
        if holder is not None:
            yield holder
            return
        settled = self.tokens[token] = trio.Event()
        try:
            yield None
        finally:
            if self.tokens.get(token) is settled:
                del self.tokens[token]
            settled.set()

    def _keep_token(self, domain: LiveDomain) -> None:
        token = domain.record.request.token
        if token is not None:
            self.tokens[token] = domain

    def retire(self, domain: LiveDomain) -> None:
        """Move a domain from the live ones to the exited ones."""
        self._drop(domain)
        self.exited[domain.record.uuid] = domain
        self._keep_token(domain)

    def forget(self, domain: LiveDomain) -> None:
        """Drop a domain altogether."""
        self._drop(domain)
        self.exited.pop(domain.record.uuid, None)
        token = domain.record.request.token
        if token is not None and self.tokens.get(token) is domain:
            del self.tokens[token]

    def _drop(self, domain: LiveDomain) -> None:
        record = domain.record
        self.live.pop(record.uuid, None)
        if self._by_name.get(record.name) is domain:
            del self._by_name[record.name]
        if self._by_domid.get(record.domid) is domain:
            del self._by_domid[record.domid]

    def overdue(self) -> Iterator[LiveDomain]:
        """Yield the exited domains that are over the bound in number or age."""
        horizon = time.time() - self._keep_seconds
        excess = len(self.exited) - self._keep
        for index, domain in enumerate(list(self.exited.values())):
            assert domain.exit is not None
            kept = not domain.destroyed or domain.policy is Policy.PRESERVE
            if not kept and (index < excess or domain.exit.at < horizon):
                yield domain

    def find(self, key: str) -> LiveDomain:
        """Return the domain of that name, UUID or decimal domid, live ones first; raises `NoSuchDomain`."""
        if len(key) == _UUID_LENGTH:
            domain = self.live.get(key.replace("-", ""))
            if domain is not None and domain.uuid == key:  # as callers see it, and mostly say it
                return domain
        domain = self._by_name.get(key)
        if domain is None and key.isascii() and key.isdigit() and len(key) < 8:
            domain = self._by_domid.get(int(key))
        if domain is None and _UUID.fullmatch(key):
            uuid = key.replace("-", "").lower()
            domain = self.live.get(uuid) or self.exited.get(uuid)
        if domain is None:
            domain = self._find_exited(key)
        if domain is None:
            raise NoSuchDomain("no domain has that name, UUID or domid", key)
        return domain

    def _find_exited(self, key: str) -> LiveDomain | None:
        for domain in reversed(self.exited.values()):
            if key in (domain.record.name, str(domain.record.domid)):
                return domain
        return None
