"""Pseudo-terminals of guests in XenStore mode, by which ``xl console`` finds their consoles.

The daemon reads and writes a guest's console itself; a terminal is one more reader, and one more writer. Its name
stands in XenStore as ``console/tty``, where xl's console daemon would have put its own.
"""

from __future__ import annotations

import os
import tty
from contextlib import suppress

import structlog
import trio

from lightvm.daemon.console_input import write_console
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import LiveDomain
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.errors import LightVMError
from lightvm.model import Mode
from lightvm.xen.hypervisor import Hypervisor

log = structlog.get_logger()

MOST_BYTES = 1024


class Terminals:
    """The terminals of all domains that have one."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        lifecycle: Lifecycle,
        devices: Devices,
        background: trio.Nursery,
    ) -> None:
        self._hypervisor = hypervisor
        self._lifecycle = lifecycle
        self._devices = devices
        self._background = background

    def open(self, domain: LiveDomain) -> None:
        """Give a domain a terminal for as long as it runs, where its guest is one for xl."""
        if domain.record.mode is Mode.XENSTORE:
            self._background.start_soon(self._serve, domain)

    async def _serve(self, domain: LiveDomain) -> None:
        try:
            master, slave = os.openpty()
        except OSError as exc:
            log.warning("no-terminal", domain=domain.record.name, error=str(exc))
            return
        try:
            tty.setraw(slave)
            os.set_blocking(master, False)
            record = domain.record
            await self._devices.tell_tty(record.domid, record.uuid, os.ttyname(slave))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._show_output, domain, master)
                nursery.start_soon(self._take_input, domain, master)
                await domain.wait_until(lambda: domain.exit is not None)
                nursery.cancel_scope.cancel()
        except LightVMError as exc:
            log.warning("no-terminal", domain=domain.record.name, error=str(exc))
        finally:
            os.close(slave)  # held open, or the other end would be broken while nobody reads
            os.close(master)

    async def _show_output(self, domain: LiveDomain, master: int) -> None:
        """Show what the guest has written, as far as somebody reads; what is too old by then is left out."""
        offset = domain.console.start
        while True:
            await domain.wait_output(offset)
            await trio.lowlevel.wait_writable(master)
            first, data = domain.console.read(offset, MOST_BYTES)
            offset = first
            with suppress(BlockingIOError):
                offset += os.write(master, data)

    async def _take_input(self, domain: LiveDomain, master: int) -> None:
        """Give the guest what is typed; what it does not take is lost."""
        while True:
            await trio.lowlevel.wait_readable(master)
            data = os.read(master, MOST_BYTES)
            with suppress(LightVMError):
                await write_console(self._hypervisor, self._lifecycle, domain, data, None)
