"""What a starting daemon makes of what it finds: adopt what runs, remove what is half-made, touch nothing else."""

from __future__ import annotations

import time
from collections.abc import Collection

import structlog

from lightvm.daemon.backends import Found
from lightvm.daemon.console import ConsoleBuffer
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.journal import DomainRecord, ExitRecord, GoneRecord, Journal
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.terminals import Terminals
from lightvm.daemon.xenstore.guest import machine_of
from lightvm.daemon.xenstore.names import NameKeeper
from lightvm.errors import LightVMError, StoreFailed
from lightvm.model import Exit, ExitReason
from lightvm.xen.domain_info import DomainInfo, exit_reason
from lightvm.xen.hypervisor import Hypervisor

log = structlog.get_logger()


class Reconciliation:
    """One reconciliation: the journal's past against Xen's list. A domain is ours by its UUID and nothing else."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        journal: Journal,
        registry: Registry,
        lifecycle: Lifecycle,
        names: NameKeeper,
        devices: Devices,
        terminals: Terminals,
        console_bytes: int,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._registry = registry
        self._lifecycle = lifecycle
        self._names = names
        self._devices = devices
        self._terminals = terminals
        self._console_bytes = console_bytes
        self._domids: set[int] = set()
        self._removed: set[str] = set()
        """UUIDs of shells."""
        self.adopted = self.ended = 0

    async def run(self) -> None:
        """Bring everything in line; what could not be stays in the journal.

        Raises `HypercallError` and `LinkFailed`.
        """
        past = self._journal.past
        # Devices before domains: so of what somebody else makes meanwhile, the domain is seen.
        found = await self._find_devices()
        present = {info.uuid.hex(): info for info in await self._hypervisor.list_domains()}
        self._domids = {info.domid for info in present.values()}
        await self._devices.filter(
            record for uuid, record in past.domains.items() if uuid in present
        )
        for uuid in list(past.shells):
            await self._remove_shell(uuid, present.get(uuid))
        for uuid, record in list(past.domains.items()):
            await self._take_over(record, past.exits.get(uuid), present.get(uuid))
        await self._devices.remove_leftovers(found, present.keys() - self._removed)
        log.info("reconciled", adopted=self.adopted, removed=len(self._removed), ended=self.ended)

    async def _find_devices(self) -> Collection[Found]:
        try:
            return await self._devices.find()
        except StoreFailed as exc:
            log.error("leftovers-not-removed", error=str(exc))
            return ()

    async def _remove_shell(self, uuid: str, info: DomainInfo | None) -> None:
        """Remove a shell; its devices are leftovers then."""
        if info is not None:
            try:
                await self._hypervisor.destroy(info.domid)
            except LightVMError as exc:
                log.error("shell-not-removed", uuid=uuid, domid=info.domid, error=str(exc))
                return  # it stays in the journal: the next start tries again
            self._removed.add(uuid)
        self._journal.append(GoneRecord(uuid=uuid))

    async def _take_over(
        self, record: DomainRecord, exit_: Exit | None, info: DomainInfo | None
    ) -> None:
        domain = LiveDomain(record, None, ConsoleBuffer(self._console_bytes))
        # A domid that is used again is another domain's, and so is its node.
        if info is not None or record.domid not in self._domids:
            self._names.written[record.domid] = record.name
        if info is None or info.dying:
            domain.addresses_free = True  # they may be another's by now
        else:
            self._devices.networks.keep(record.vifs)
        if exit_ is None:
            if info is not None and not info.dying and await self._adopt(domain, info):
                return
            if info is not None and not (info.dying or info.shutdown):
                return  # left running and in the journal; Doctor shows it as leaked
            exit_ = _exit_of(info)
            self._journal.append(ExitRecord(uuid=record.uuid, exit=exit_))
        domain.exit = exit_
        domain.destroyed = info is None
        if exit_.reason is ExitReason.DESTROYED:
            self._lifecycle.forget(domain)  # whoever asked for that does not want to see it again
        else:
            self._lifecycle.keep_exited(domain)
        self.ended += 1

    async def _adopt(self, domain: LiveDomain, info: DomainInfo) -> bool:
        """Take a domain over; one that has shut down meanwhile for its last words. Return False where that failed."""
        record = domain.record
        try:
            domain.handle = await self._hypervisor.adopt(
                record.domid, record.console_port, record.control_port
            )
        except LightVMError as exc:
            log.error("not-adopted", domain=record.name, domid=record.domid, error=str(exc))
            return False
        domain.paused = info.paused
        if info.paused and not record.paused and info.cpu_ns == 0:
            # The daemon before was killed between writing it down and letting it run.
            self._hypervisor.unpause(domain.handle)
            domain.paused = False
        self._lifecycle.enter(domain)
        if info.shutdown:
            self._lifecycle.hear_control(domain)
            self._lifecycle.end(domain, exit_reason(info.shutdown_code))
            self.ended += 1
        else:
            self._names.set_name(record.domid, record.name, machine_of(record))
            self._terminals.open(domain)
            self.adopted += 1
        return True


def _exit_of(info: DomainInfo | None) -> Exit:
    if info is not None and info.shutdown:
        return Exit(reason=exit_reason(info.shutdown_code), at=time.time())
    return Exit(reason=ExitReason.LOST, at=time.time())
