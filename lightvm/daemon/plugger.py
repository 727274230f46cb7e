"""Networks of guests that run before they have them.

In XenStore mode a guest without a shell is let run first (``docs/decisions/0038-run-before-the-network.md``): it waits
for its network as for any back-end. Whatever becomes of whoever asked for it, it gets its network, or is destroyed.
"""

from __future__ import annotations

from contextlib import suppress

import structlog
import trio

from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.errors import LightVMError, StoreFailed
from lightvm.model import Mode
from lightvm.xen.hypervisor import Hypervisor, Shape

log = structlog.get_logger()


def runs_early(shape: Shape) -> bool:
    """Whether a guest without a shell runs before its back-ends wait for it.

    In XenStore mode it waits for its network by itself. It would for a disk too, but loop devices are nobody's until a
    back-end has opened them.
    """
    return shape.xenstore and not shape.vbds


class Plugger:
    """Puts vifs of guests that run into their bridges."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        devices: Devices,
        lifecycle: Lifecycle,
        background: trio.Nursery,
    ) -> None:
        self._hypervisor = hypervisor
        self._devices = devices
        self._lifecycle = lifecycle
        self._background = background
        self._under_way: dict[str, trio.Event] = {}
        """By the UUID of their domain."""

    async def plug(self, domain: LiveDomain) -> None:
        """Put a guest's vifs into their bridges; where that fails, it is destroyed, unless it has ended by itself.

        Raises what `Devices.plug` does. Cancelled, it goes on in the background.
        """
        try:
            await self._plug_or_destroy(domain)
        except trio.Cancelled:
            self._background.start_soon(self._plug_alone, domain)
            raise

    async def is_under_way(self, domain: LiveDomain) -> bool:
        """Wait for the end of a guest's plug; return False at once where there is none."""
        if (plugged := self._under_way.get(domain.record.uuid)) is None:
            return False
        await plugged.wait()
        return True

    async def plug_adopted(self, registry: Registry) -> None:
        """Do what a daemon has left to do that was killed while guests ran without their networks.

        Not part of the start: guests may keep their back-ends from getting ready.
        """
        for record in [domain.record for domain in registry.live.values()]:
            if record.mode is not Mode.XENSTORE:
                continue
            try:
                await self._devices.plug(record)
            except LightVMError as exc:
                log.error("not-plugged", domain=record.name, domid=record.domid, error=str(exc))
                if isinstance(exc, StoreFailed):
                    return

    async def _plug_alone(self, domain: LiveDomain) -> None:
        try:
            await self._plug_or_destroy(domain)
        except LightVMError as exc:
            log.error("not-plugged", domain=domain.record.name, error=str(exc))

    async def _plug_or_destroy(self, domain: LiveDomain) -> None:
        uuid = domain.record.uuid
        plugged = self._under_way[uuid] = trio.Event()
        try:
            await self._devices.plug(domain.record)
        except LightVMError:
            if await self._runs(domain):
                with suppress(LightVMError):
                    await self._lifecycle.destroy(domain, wait=False)
                raise
        finally:
            del self._under_way[uuid]
            plugged.set()

    async def _runs(self, domain: LiveDomain) -> bool:
        """Whether a domain has not ended, as far as Xen says so."""
        if domain.exit is not None:
            return False
        uuid = bytes.fromhex(domain.record.uuid)
        try:
            domains = await self._hypervisor.list_domains()
        except LightVMError:
            return True
        return any(info.uuid == uuid and not (info.dying or info.shutdown) for info in domains)
