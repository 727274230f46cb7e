"""What a create leaves for later: done when no request is being served, but never put off for long."""

from __future__ import annotations

from collections import deque

import structlog
import trio

from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.quiet import Quiet
from lightvm.daemon.terminals import Terminals
from lightvm.daemon.xenstore.guest import machine_of
from lightvm.daemon.xenstore.names import NameKeeper
from lightvm.errors import LightVMError
from lightvm.xen.hypervisor import Hypervisor

log = structlog.get_logger()

PATIENCE_SECONDS = 2.0
"""After this long the work that was there at its beginning is done, whether idle or not."""


class Housekeeper:
    """Closes image windows, writes names into XenStore and opens terminals, behind the requests."""

    def __init__(
        self, hypervisor: Hypervisor, quiet: Quiet, names: NameKeeper, terminals: Terminals
    ) -> None:
        self._hypervisor = hypervisor
        self._quiet = quiet
        self._names = names
        self._terminals = terminals
        self._due: deque[LiveDomain] = deque()
        self._wake = trio.Event()

    def settle_later(self, domain: LiveDomain) -> None:
        """Note a new domain."""
        self._due.append(domain)
        self._wake.set()

    async def settle_domains(self) -> None:
        """Settle new domains, for ever: one, then look again whether a request has come."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._due:
                await self._settle_those_here()

    async def _settle_those_here(self) -> None:
        until = trio.current_time() + PATIENCE_SECONDS
        for _ in range(len(self._due)):
            with trio.move_on_at(until):
                await self._quiet.wait()
            await self._settle(self._due.popleft())

    async def _settle(self, domain: LiveDomain) -> None:
        async with domain.lock:
            if domain.exit is not None or domain.handle is None:
                return
            record = domain.record
            self._names.set_name(record.domid, record.name, machine_of(record))
            self._terminals.open(domain)
            try:
                await self._hypervisor.close_window(domain.handle)
            except LightVMError as exc:
                log.warning("window-not-closed", domain=domain.record.name, error=str(exc))
