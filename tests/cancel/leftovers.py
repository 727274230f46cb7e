"""What must hold whenever a daemon is at rest: everything in Xen, in the journal and in XenStore has an owner."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import trio

from lightvm.client import open_client
from lightvm.daemon.journal import read_journal
from lightvm.model import WaitFor
from lightvm.testing import InMemory
from tests.cancel.device_leftovers import compare, device_leftovers
from tests.waits import PATIENCE


async def assert_nothing_left(lvm: InMemory, *, foreign: Collection[int] = ()) -> None:
    """Fail unless, once the daemon is at rest, nothing is left of what failed or was cancelled.

    `foreign` are the domids of domains that are not ours. Then the next request must find everything as it should be.
    """
    await _assert_at_rest(lvm, foreign)
    async with open_client(lvm.socket) as client:
        created = await client.create(lvm.noop, wait=WaitFor.READY)
        await client.destroy(created.domain.name)
        findings = await client.doctor()
    # What Doctor says of the journal is about the past.
    assert [f for f in findings if f.verdict not in ("ok", "foreign") and f.kind != "journal"] == []
    await _assert_at_rest(lvm, foreign)


async def _assert_at_rest(lvm: InMemory, foreign: Collection[int]) -> None:
    left: list[str] = []
    pause = 0.05
    with trio.move_on_after(PATIENCE):
        while True:
            left = list(leftovers(lvm, foreign))
            if not left:
                return
            await trio.sleep(pause)
            pause = min(2 * pause, 5)
    raise AssertionError("\n".join(["left behind:", *left]))


def leftovers(lvm: InMemory, foreign: Collection[int] = ()) -> Iterator[str]:
    """Say what does not agree."""
    registry, hypervisor = lvm.service.registry, lvm.hypervisor
    live = {domain.record.domid for domain in registry.live.values()}
    shells = {shell.handle.domid for pool in lvm.service.pools for shell in pool.shells}
    yield from compare("domains in Xen", hypervisor.domains.keys() - set(foreign), live | shells)
    yield from compare("pools that are not full", _unfilled(lvm), set())
    yield from compare("shells in work", lvm.service.pools._maker.in_work, set())
    yield from _journal(lvm)
    yield from _events(lvm)
    names = {domain.record.domid: domain.record.name for domain in registry.live.values()}
    ours = {
        int(path.split("/")[3]): name
        for path, name in lvm.store.nodes.items()
        if path.startswith("/local/domain/")
        and path.endswith("/name")
        and int(path.split("/")[3]) not in foreign
    }
    yield from compare("names in XenStore", ours.items(), names.items())
    yield from device_leftovers(lvm, foreign)
    yield from compare("names that may be written", lvm.service.names.written, live)
    taken = dict(registry._by_name)
    yield from compare("reserved names", {n for n, d in taken.items() if d is None}, set())
    tokens = lvm.service.registry.tokens
    yield from compare(
        "tokens held", {t for t, d in tokens.items() if isinstance(d, trio.Event)}, set()
    )
    held = (domain.handle for domain in hypervisor.domains.values())
    windows = {h.domid for h in held if h is not None and h.window and h.domid in live}
    yield from compare("windows of running domains", windows, set())


def _unfilled(lvm: InMemory) -> set[str]:
    return {pool.flavor.name for pool in lvm.service.pools if len(pool.shells) < pool.flavor.low}


def _journal(lvm: InMemory) -> Iterator[str]:
    registry, past = lvm.service.registry, lvm.service.journal.past
    yield from compare("shells in the journal", past.shells, lvm.service.pools.uuids)
    yield from compare(
        "domains in the journal", past.domains, registry.live.keys() | registry.exited.keys()
    )
    yield from compare("exits in the journal", past.exits, registry.exited.keys())
    written = read_journal(Path(lvm.service.config.daemon.state_dir) / "journal")
    for kind in ("shells", "domains", "exits", "services"):
        yield from compare(
            f"{kind} in the file", getattr(written, kind), getattr(past, kind).keys()
        )


def _events(lvm: InMemory) -> Iterator[str]:
    """Each live domain has its two routes; each held domain its two channels, and nobody else any."""
    routed = {
        (domain.record.domid, console) for domain, console in lvm.service.lifecycle.routes.values()
    }
    live = [domain.record.domid for domain in lvm.service.registry.live.values()]
    yield from compare(
        "routes of events", routed, {(domid, console) for domid in live for console in (0, 1)}
    )
    handles = [d.handle for d in lvm.hypervisor.domains.values() if d.handle is not None]
    bound = {event for h in handles for event in (h.console_event, h.control_event)}
    yield from compare("channels", lvm.hypervisor._masked.keys(), bound)
