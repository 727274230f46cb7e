"""Events from guests, and guests that end without one."""

from __future__ import annotations

import contextlib
import itertools

import structlog
import trio

from lightvm.daemon.domains import EVENT_BUDGET, LiveDomain, Registry
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.shells import Pools
from lightvm.errors import LightVMError
from lightvm.model import ExitReason
from lightvm.xen.hypervisor import Hypervisor, Watched, exit_reason

log = structlog.get_logger()

BUDGET_SECONDS = 0.05
EVENT_COST = 256
"""What one event counts for beside its bytes: many small writes cost dom0 as much as a few large ones."""

SHORTEST_REAP, LONGEST_REAP = 0.25, 0.9
SHELLS_EVERY = 10
"""Every so many looks, the reaper looks at the shells too."""

REAP_SHARE = 0.02
"""The reaper's share of time: it waits longer between two looks the longer a look takes, within the bounds."""


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


async def notice_changes(
    hypervisor: Hypervisor, registry: Registry, lifecycle: Lifecycle, pools: Pools
) -> None:
    """Find what becomes of domains without a word, for ever: crashes, triple faults, `xl destroy`, `xl pause`.

    One call covers all domains, so it is noticed within a second however many there are. Shells, which nobody should
    touch, are looked at now and then.
    """
    for look in itertools.count():
        begun = trio.current_time()
        watched = {
            uuid: Watched(domain.record.domid, bytes.fromhex(uuid), domain.paused)
            for uuid, domain in registry.live.items()
        }
        if look % SHELLS_EVERY == 0:
            watched |= {
                shell.uuid: Watched(shell.handle.domid, bytes.fromhex(shell.uuid), paused=True)
                for shell in pools.shells()
            }
        try:
            changed = await hypervisor.find_changed(sorted(watched.values()))
        except LightVMError as exc:
            log.error("reaper-failed", error=str(exc))
            changed = ()
        for info in changed:
            uuid = info.uuid.hex()
            domain = registry.live.get(uuid)
            if domain is None:  # ended by its own word meanwhile, or a shell
                await pools.drop(uuid)
                continue
            if not (info.gone or info.dying or info.shutdown):
                lifecycle.note_paused(domain, was=watched[uuid].paused)
                continue
            gone = info.gone or (info.dying and not info.shutdown)
            if not gone:
                # It may have said why: the event of its last word may still be on its way.
                with contextlib.suppress(LightVMError):
                    lifecycle.hear_control(domain)
            lifecycle.end(domain, ExitReason.LOST if gone else exit_reason(info.shutdown_code))
        took = trio.current_time() - begun
        await trio.sleep(min(max(took / REAP_SHARE, SHORTEST_REAP), LONGEST_REAP))
