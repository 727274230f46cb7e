"""Events from guests, and guests that end without one."""

from __future__ import annotations

import contextlib

import structlog
import trio

from lightvm.daemon.domains import OUTPUT_BUDGET, LiveDomain, Registry
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.errors import LightVMError
from lightvm.model import ExitReason
from lightvm.xen.hypervisor import Hypervisor, exit_reason

log = structlog.get_logger()

BUDGET_SECONDS = 0.05
EVENT_COST = 256
"""What one event counts for beside its bytes: many small writes cost dom0 as much as a few large ones."""

SHORTEST_REAP, LONGEST_REAP = 0.25, 0.9
REAP_SHARE = 0.02
"""The reaper's share of time: it waits longer between two looks the longer a look takes, within the bounds."""


class EventPump:
    """Hears what guests say over their event channels."""

    def __init__(self, hypervisor: Hypervisor, lifecycle: Lifecycle) -> None:
        self._hypervisor = hypervisor
        self._lifecycle = lifecycle
        self._spent: list[LiveDomain] = []
        self._throttled: list[tuple[LiveDomain, int]] = []

    async def pump_events(self) -> None:
        """Hear guests, for ever."""
        while True:
            await self._hypervisor.wait_events()
            try:
                events = self._hypervisor.take_events()
            except LightVMError as exc:
                log.error("events-not-taken", error=str(exc))
                await trio.sleep(BUDGET_SECONDS)
                continue
            for event in events:
                self._hear(event)

    def _hear(self, event: int) -> None:
        route = self._lifecycle.routes.get(event)
        try:
            if route is not None and route[1]:
                self._hear_console(route[0], event)
                return
            self._hypervisor.unmask(event)
            if route is not None:  # else a shell's, from the binding of its channels
                self._lifecycle.hear_control(route[0])
        except LightVMError as exc:
            log.warning("event-failed", channel=event, error=str(exc))

    def _hear_console(self, domain: LiveDomain, event: int) -> None:
        if domain.output_budget <= 0:
            # The channel stays masked, so the guest can raise no more events until it has a budget again.
            self._throttled.append((domain, event))
            return
        before = domain.console.end
        self._hypervisor.unmask(event)
        self._lifecycle.drain_console(domain)
        if domain.output_budget == OUTPUT_BUDGET:
            self._spent.append(domain)
        domain.output_budget -= domain.console.end - before + EVENT_COST

    async def renew_budgets(self) -> None:
        """Give domains that have written their output budget again, for ever."""
        while True:
            await trio.sleep(BUDGET_SECONDS)
            spent, self._spent = self._spent, []
            for domain in spent:
                domain.output_budget = OUTPUT_BUDGET
            throttled, self._throttled = self._throttled, []
            for domain, event in throttled:
                if domain.handle is not None:
                    self._hear(event)


async def reap_ended(hypervisor: Hypervisor, registry: Registry, lifecycle: Lifecycle) -> None:
    """Find domains that ended without a word, for ever: crashes, triple faults, and a foreign `xl destroy`.

    One call covers all domains, so an end is noticed within a second however many there are.
    """
    while True:
        begun = trio.current_time()
        watched = sorted((d.record.domid, bytes.fromhex(uuid)) for uuid, d in registry.live.items())
        try:
            ended = await hypervisor.find_ended(watched)
        except LightVMError as exc:
            log.error("reaper-failed", error=str(exc))
            ended = ()
        for info in ended:
            domain = registry.live.get(info.uuid.hex())
            if domain is None:
                continue  # ended by its own word meanwhile
            gone = info.gone or (info.dying and not info.shutdown)
            if not gone:
                # It may have said why: the event of its last word may still be on its way.
                with contextlib.suppress(LightVMError):
                    lifecycle.hear_control(domain)
            lifecycle.end(domain, ExitReason.LOST if gone else exit_reason(info.shutdown_code))
        took = trio.current_time() - begun
        await trio.sleep(min(max(took / REAP_SHARE, SHORTEST_REAP), LONGEST_REAP))
