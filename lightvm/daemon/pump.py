"""Events from guests."""

from __future__ import annotations

import structlog
import trio

from lightvm.daemon.domains import EVENT_BUDGET, LiveDomain
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.errors import LightVMError
from lightvm.xen.hypervisor import Hypervisor

log = structlog.get_logger()

BUDGET_SECONDS = 0.05
EVENT_COST = 256
"""What one event counts for beside its bytes: many small writes cost dom0 as much as a few large ones."""


class EventPump:
    """Hears what guests say over their event channels."""

    def __init__(self, hypervisor: Hypervisor, lifecycle: Lifecycle) -> None:
        self._hypervisor = hypervisor
        self._lifecycle = lifecycle
        self._spent: list[LiveDomain] = []
        self._throttled: list[tuple[LiveDomain, int]] = []
        self._any_spent = trio.Event()

    async def pump_events(self) -> None:
        """Hear guests, for ever."""
        while True:
            await self._hypervisor.wait_events()
            if not self.hear_pending():
                await trio.sleep(BUDGET_SECONDS)

    def hear_pending(self) -> bool:
        """Hear what guests have said up to now; return False where that cannot be found out just now."""
        try:
            events = self._hypervisor.take_events()
        except LightVMError as exc:
            log.error("events-not-taken", error=str(exc))
            return False
        for event in events:
            self._hear(event)
        return True

    def _hear(self, event: int) -> None:
        route = self._lifecycle.routes.get(event)
        try:
            if route is None:  # a shell's, from the binding of its channels
                self._hypervisor.unmask(event)
                return
            domain, is_console = route
            if domain.event_budget <= 0:
                # The channel stays masked, so the guest can raise no more events until it has a budget again.
                self._throttled.append((domain, event))
                return
            self._charge(domain, EVENT_COST)
            self._hypervisor.unmask(event)
            if is_console:
                before = domain.console.end
                self._lifecycle.drain_console(domain)
                self._charge(domain, domain.console.end - before)
            else:
                self._lifecycle.hear_control(domain)
        except LightVMError as exc:
            log.warning("event-failed", channel=event, error=str(exc))

    def _charge(self, domain: LiveDomain, cost: int) -> None:
        if domain.event_budget == EVENT_BUDGET:
            self._spent.append(domain)
            self._any_spent.set()
        domain.event_budget -= cost

    async def renew_budgets(self) -> None:
        """Give domains that have used some of their budget a new one, for ever."""
        while True:
            await self._any_spent.wait()
            await trio.sleep(BUDGET_SECONDS)
            self._any_spent = trio.Event()
            spent, self._spent = self._spent, []
            for domain in spent:
                domain.event_budget = EVENT_BUDGET
            throttled, self._throttled = self._throttled, []
            for domain, event in throttled:
                if domain.handle is not None:
                    self._hear(event)
