"""Ends that a guest has a say in: it is asked to stop, and what has ended by itself may be started again."""

from __future__ import annotations

import time

import structlog
import trio
from msgspec.structs import replace

from lightvm.daemon.creator import Creator
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.journal import DomainRecord
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.errors import LightVMError, NotPossibleNow, TimedOut
from lightvm.model import Created, CreateRequest, DiskRequest, Mode, NetRequest, Policy, Power
from lightvm.xen.hypervisor import Hypervisor, power_request

log = structlog.get_logger()

STOP_SECONDS = 10.0
"""How long a guest has to stop where the caller does not say."""

STEADY_SECONDS = 10.0
"""A guest that has run this long is not one that cannot start."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
MOST_FAILURES = 5


class PowerKeeper:
    """Stops and restarts domains."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        registry: Registry,
        lifecycle: Lifecycle,
        creator: Creator,
        devices: Devices,
        background: trio.Nursery,
    ) -> None:
        self._hypervisor = hypervisor
        self._registry = registry
        self._lifecycle = lifecycle
        self._creator = creator
        self._devices = devices
        self._background = background

    async def stop(
        self,
        domain: LiveDomain,
        *,
        power: Power = Power.POWEROFF,
        seconds: float | None = None,
        force: bool = False,
    ) -> None:
        """Ask a guest to stop, and wait until it has; with `force`, one that does not in time is destroyed.

        Raises `TimedOut`, which says whether the guest has heard, `NotPossibleNow` for one that has exited, that is
        paused and not to be forced, or that says it cannot do that, `HypercallError` and `StoreFailed`. Cancelled, it
        waits no longer; what was asked for stays asked for.
        """
        limit = STOP_SECONDS if seconds is None else seconds
        heard = False
        if not (force and domain.paused):  # a paused guest hears nothing
            heard = await self._ask(domain, power, limit)
        if domain.exit is None and not force:
            word = "has heard, but does not stop" if heard else "does not hear"
            raise TimedOut(f"the guest {word}; not stopped after {limit:g} s", domain.record.name)
        if domain.exit is None:
            await self._lifecycle.destroy(domain)

    async def _ask(self, domain: LiveDomain, power: Power, seconds: float) -> bool:
        """Ask, and wait; return whether the guest has heard."""
        request = power_request(power)
        async with domain.lock:
            handle = self._lifecycle.running(domain)
            if domain.paused:
                raise NotPossibleNow("a paused guest hears nothing", domain.record.name)
            if domain.record.mode is Mode.XENSTORE:
                await self._devices.ask_power(domain.record.domid, power)
            self._hypervisor.request_power(handle, request)
        with trio.move_on_after(seconds):
            await domain.wait_until(lambda: domain.exit is not None)
        if domain.exit is not None or domain.acknowledged == request:
            return True
        if domain.record.mode is Mode.XENSTORE:
            return await self._devices.has_heard(domain.record.domid)
        return False

    async def restart(
        self, domain: LiveDomain, *, seconds: float | None = None, force: bool = False
    ) -> Created:
        """Stop a domain, where it runs, and start it again under its name and addresses.

        Raises what `stop` and `Creator.create` raise.
        """
        domain.handled = True  # its end is nobody else's business
        try:
            if domain.exit is None:
                await self.stop(domain, power=Power.REBOOT, seconds=seconds, force=force)
        except BaseException:
            domain.handled = False
            raise
        return await self._again(domain)

    async def _again(self, domain: LiveDomain) -> Created:
        await self._lifecycle.destroy(domain)
        record = domain.record
        lived = time.time() - record.created
        restarts = 1 if lived > STEADY_SECONDS else record.restarts + 1
        return await self._creator.create(request_of(record), restarts=restarts)

    def note_end(self, domain: LiveDomain) -> None:
        """Start a domain again that has just ended, where its policy says so."""
        if domain.policy is Policy.RESTART and not domain.handled:
            self._background.start_soon(self._restart_by_policy, domain)

    async def _restart_by_policy(self, domain: LiveDomain) -> None:
        """Start it again: at once the first time, later and later where it keeps ending."""
        record = domain.record
        steady = time.time() - record.created > STEADY_SECONDS
        delay = 0.0 if steady or not record.restarts else _delay(record.restarts)
        for attempt in range(1, MOST_FAILURES + 1):
            await trio.sleep(delay)
            if attempt == 1 and record.uuid not in self._registry.exited:
                return  # somebody has destroyed it meanwhile
            try:
                await self._again(domain)
                return
            except LightVMError as exc:
                log.error("not-restarted", domain=record.name, error=str(exc), attempt=attempt)
                delay = _delay(attempt)


def _delay(attempt: int) -> float:
    return min(FIRST_DELAY * 2.0 ** (attempt - 1), LONGEST_DELAY)


def request_of(record: DomainRecord) -> CreateRequest:
    """Return a request for a domain just like this one, with its addresses."""
    nets = tuple(
        NetRequest(
            network=vif.network,
            mac=vif.mac,
            ipv4=None if vif.ipv4 is None else vif.ipv4.partition("/")[0],
        )
        for vif in record.vifs
    )
    disks = tuple(DiskRequest(path=vbd.path, readonly=vbd.readonly) for vbd in record.vbds)
    return replace(
        record.request,
        name=record.name,
        flavor=None,
        mode=record.mode,
        memory_kib=record.memory_kib,
        vcpus=record.vcpus,
        nets=nets or None,
        disks=disks or None,
        paused=None,
        cold=None,
        wait=None,
        timeout_ms=None,
    )
