"""Guests that end, or are paused, without a word to us."""

from __future__ import annotations

import contextlib
import itertools

import structlog
import trio

from lightvm.daemon.domains import Registry
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.shells import Pools
from lightvm.daemon.xenstore.store import Store
from lightvm.errors import LightVMError
from lightvm.model import ExitReason
from lightvm.xen.domain_info import DomainInfo, Watched, exit_reason
from lightvm.xen.hypervisor import Hypervisor

log = structlog.get_logger()

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 0.9
SHARE = 0.02
"""The reaper's share of time: it waits longer between two looks the longer a look takes, within the bounds."""

SHORTEST_HINTED, HINTED_SHARE = 0.02, 0.2
"""The same where somebody has said that a domain may have ended; so a storm of such costs no more than its share."""

SHELLS_EVERY = 10
"""Every so many looks are at the shells too."""

RETRY_SECONDS = 5.0
"""How long to wait before xenstored is asked for hints again."""


class Reaper:
    """Finds what becomes of domains without a word: crashes, triple faults, `xl destroy`, `xl pause`."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        registry: Registry,
        lifecycle: Lifecycle,
        pools: Pools,
        store: Store,
    ) -> None:
        self._hypervisor = hypervisor
        self._registry = registry
        self._lifecycle = lifecycle
        self._pools = pools
        self._store = store
        self._hint = trio.Event()

    async def notice_changes(self) -> None:
        """Look, for ever.

        One call covers all domains, so what happens is noticed within a second however many there are. Shells, which
        nobody should touch, are looked at now and then.
        """
        for look in itertools.count():
            begun = trio.current_time()
            self._hint = trio.Event()
            await self._look(shells=look % SHELLS_EVERY == 0)
            took = trio.current_time() - begun
            await trio.sleep(max(took / HINTED_SHARE, SHORTEST_HINTED))
            with trio.move_on_after(min(max(took / SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)):
                await self._hint.wait()

    async def hear_hints(self) -> None:
        """Let xenstored say when a domain that it knows has ended, for ever; without it, looks come later."""
        complained = False
        while True:
            try:
                await self._store.wait_release()
            except OSError as exc:
                if not complained:
                    log.warning("no-hints-from-xenstore", error=str(exc))
                complained = True
                await trio.sleep(RETRY_SECONDS)
                continue
            complained = False
            self._hint.set()

    async def _look(self, *, shells: bool) -> None:
        watched = [domain.watched for domain in self._registry.live.values()]
        if shells:
            watched += [
                Watched(shell.handle.domid, bytes.fromhex(shell.uuid), paused=True)
                for shell in self._pools.shells()
            ]
        try:
            changed = await self._hypervisor.find_changed(watched)
        except LightVMError as exc:
            log.error("reaper-failed", error=str(exc))
            return
        for info in changed:
            await self._act_on(info, info.uuid.hex())

    async def _act_on(self, info: DomainInfo, uuid: str) -> None:
        domain = self._registry.live.get(uuid)
        if domain is None:  # ended by its own word meanwhile, or a shell
            await self._pools.drop(uuid)
            return
        if not (info.gone or info.dying or info.shutdown):
            self._lifecycle.note_paused(domain, was=not info.paused)
            return
        gone = info.gone or (info.dying and not info.shutdown)
        if not gone:
            # It may have said why: the event of its last word may still be on its way.
            with contextlib.suppress(LightVMError):
                self._lifecycle.hear_control(domain)
        self._lifecycle.end(domain, ExitReason.LOST if gone else exit_reason(info.shutdown_code))
