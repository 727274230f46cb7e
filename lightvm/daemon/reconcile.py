"""What a starting daemon makes of what it finds: adopt what runs, remove what is half-made, touch nothing else."""

from __future__ import annotations

import time

import structlog

from lightvm.daemon.console import ConsoleBuffer
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.journal import DomainRecord, ExitRecord, GoneRecord, Journal
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.xenstore import NameKeeper
from lightvm.errors import HostError, HypercallError
from lightvm.model import Exit, ExitReason
from lightvm.xen.hypervisor import DomainInfo, Hypervisor, exit_reason

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
        console_bytes: int,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._registry = registry
        self._lifecycle = lifecycle
        self._names = names
        self._console_bytes = console_bytes
        self.adopted = self.removed = self.ended = 0

    async def run(self) -> None:
        """Bring everything in line; what could not be stays in the journal. Raises `HypercallError`."""
        past = self._journal.past
        present = {info.uuid.hex(): info for info in await self._hypervisor.list_domains()}
        for uuid in list(past.shells):
            await self._remove_shell(uuid, present.get(uuid))
        for uuid, record in list(past.domains.items()):
            await self._take_over(record, past.exits.get(uuid), present.get(uuid))
        log.info("reconciled", adopted=self.adopted, removed=self.removed, ended=self.ended)

    async def _remove_shell(self, uuid: str, info: DomainInfo | None) -> None:
        if info is not None:
            try:
                await self._hypervisor.destroy(info.domid)
            except HypercallError as exc:
                log.error("shell-not-removed", uuid=uuid, domid=info.domid, error=str(exc))
                return  # it stays in the journal: the next start tries again
            self.removed += 1
        self._journal.append(GoneRecord(uuid=uuid))

    async def _take_over(
        self, record: DomainRecord, exit_: Exit | None, info: DomainInfo | None
    ) -> None:
        domain = LiveDomain(record, None, ConsoleBuffer(self._console_bytes))
        self._names.written.add(record.domid)
        if exit_ is None:
            exit_ = self._exit_of(info)
            if exit_ is None and info is not None:
                await self._adopt(domain, info)
                return
            assert exit_ is not None
            self._journal.append(ExitRecord(uuid=record.uuid, exit=exit_))
        domain.exit = exit_
        domain.destroyed = info is None
        self._lifecycle.keep_exited(domain)
        self.ended += 1

    def _exit_of(self, info: DomainInfo | None) -> Exit | None:
        if info is None:
            return Exit(reason=ExitReason.LOST, at=time.time())
        if info.shutdown:
            return Exit(reason=exit_reason(info.shutdown_code), at=time.time())
        return Exit(reason=ExitReason.LOST, at=time.time()) if info.dying else None

    async def _adopt(self, domain: LiveDomain, info: DomainInfo) -> None:
        record = domain.record
        try:
            domain.handle = await self._hypervisor.adopt(
                record.domid, record.console_port, record.control_port
            )
        except HostError as exc:
            log.error("not-adopted", domain=record.name, domid=record.domid, error=str(exc))
            return  # left running and in the journal; Doctor shows it as leaked
        # A domain that was written down but never unpaused looks like one that its owner paused: it is shown as that.
        domain.paused = info.paused
        self._lifecycle.enter(domain)
        self._names.set_name(record.domid, record.name)
        self.adopted += 1
