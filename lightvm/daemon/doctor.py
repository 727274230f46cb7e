"""Everything on this host that belongs to LightVM, and every leak: what is known against what is there."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from lightvm.daemon.backends import HOME, Found
from lightvm.daemon.devices import Devices
from lightvm.daemon.domains import LiveDomain, Registry, dashed
from lightvm.daemon.journal import Past
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.shells import Pools
from lightvm.daemon.xenstore.names import NameKeeper
from lightvm.errors import StoreFailed
from lightvm.model import Finding, Verdict
from lightvm.xen.domain_info import DomainInfo
from lightvm.xen.hypervisor import Hypervisor

LOOK_SECONDS = 10.0
"""How long looking at devices may take, and waiting until it is our turn there."""


async def examine(
    *,
    hypervisor: Hypervisor,
    registry: Registry,
    pools: Pools,
    lifecycle: Lifecycle,
    names: NameKeeper,
    devices: Devices,
    past: Past,
) -> tuple[Finding, ...]:
    """Look at Xen, XenStore and our own tables, and compare. Raises `HypercallError`.

    What comes or goes while Xen is being asked is nobody's fault, and is left out.
    """
    before = _known(registry, pools)
    found, trouble = await _look_at(devices)
    suspects = {one for one in found if _owner(one.uuid, registry, pools, lifecycle) is None}
    present = {info.uuid.hex(): info for info in await hypervisor.list_domains()}
    after = _known(registry, pools)
    present = {uuid: info for uuid, info in present.items() if uuid in after or uuid not in before}
    findings = list(_domains(present, registry, pools, lifecycle, past))
    findings += _missing((before & after) - present.keys(), registry)
    findings += _routes(registry, lifecycle)
    findings += _devices(found, registry, pools, lifecycle)
    if suspects:  # a second look: what is just being removed is gone by then
        again, trouble = await _look_at(devices)
        findings += _suspects(suspects & again, present, past)
    if not trouble:
        try:
            stored = await names.domids_present()
            findings += _nodes(stored - _in_burial(lifecycle), present, registry, names)
        except OSError as exc:
            trouble = str(exc)
    if trouble:
        findings.append(_finding("xenstore", Verdict.MISSING, "xenstored", trouble))
    if past.unreadable:
        detail = f"{past.unreadable} lines of the journal could not be read at start"
        findings.append(_finding("journal", Verdict.LEAKED, "journal", detail))
    return tuple(findings)


async def _look_at(devices: Devices) -> tuple[set[Found], str]:
    """Return what there is of devices, and why that is not to be had."""
    try:
        with trio.fail_after(LOOK_SECONDS):
            return set(await devices.find()), ""
    except StoreFailed as exc:
        return set(), str(exc)
    except trio.TooSlowError:
        return set(), f"no answer after {LOOK_SECONDS:g} s"


def _owner(uuid: str, registry: Registry, pools: Pools, lifecycle: Lifecycle) -> str | None:
    """Return whose something is, in words; None where it is nobody's."""
    live = registry.live.get(uuid)
    if live is not None:
        return f"{live.record.name} ({live.state})"
    exited = registry.exited.get(uuid)
    if exited is not None and not exited.stuck:
        return f"{exited.record.name} has exited"
    if uuid in lifecycle.burials.under_way:
        return f"{lifecycle.burials.under_way[uuid].record.name} is being given back"
    if uuid in pools.uuids:
        return f"shell {dashed(uuid)}"
    return f"shell {dashed(uuid)}, in work" if pools.in_work(uuid) else None


def _devices(
    found: set[Found], registry: Registry, pools: Pools, lifecycle: Lifecycle
) -> Iterator[Finding]:
    for one in sorted(found):
        owner = _owner(one.uuid, registry, pools, lifecycle)
        if one.kind != HOME and owner is not None:
            yield _finding(one.kind, Verdict.OK, f"domain {one.domid}", owner)


def _suspects(found: set[Found], present: dict[str, DomainInfo], past: Past) -> Iterator[Finding]:
    """Say what becomes of devices that nobody owns."""
    for one in sorted(found):
        kind, what = one.kind, f"domain {one.domid}"
        if kind == HOME:
            kind, what = "xenstore", f"/local/domain/{one.domid}"
            if any(other.domid == one.domid and other.kind != HOME for other in found):
                continue  # it goes with the devices
        if one.uuid not in present:
            yield _finding(kind, Verdict.LEAKED, what, "its domain is gone")
        elif one.uuid in past.domains or one.uuid in past.shells:
            yield _finding(kind, Verdict.LEAKED, what, "its domain is not held")
        elif one.kind != HOME:
            yield _finding(kind, Verdict.FOREIGN, what, f"{dashed(one.uuid)} is not ours")


def _finding(kind: str, verdict: Verdict, what: str, detail: str) -> Finding:
    return Finding(kind=kind, verdict=verdict, what=what, detail=detail)


def _domains(
    present: dict[str, DomainInfo],
    registry: Registry,
    pools: Pools,
    lifecycle: Lifecycle,
    past: Past,
) -> Iterator[Finding]:
    shells = pools.uuids
    for uuid, info in present.items():
        what = f"domain {info.domid}"
        live = registry.live.get(uuid)
        if live is not None:
            yield _finding("domain", Verdict.OK, what, f"{live.record.name} ({live.state})")
        elif uuid in shells:
            yield _finding("shell", Verdict.OK, what, f"shell {dashed(uuid)}")
        elif uuid in registry.exited:
            exited = registry.exited[uuid]
            verdict = Verdict.LEAKED if exited.stuck else Verdict.OK
            yield _finding("domain", verdict, what, f"{exited.record.name} has exited")
        elif uuid in lifecycle.burials.under_way:
            name = lifecycle.burials.under_way[uuid].record.name
            yield _finding("domain", Verdict.OK, what, f"{name} is being given back")
        elif pools.in_work(uuid):
            yield _finding("shell", Verdict.OK, what, f"shell {dashed(uuid)}, in work")
        elif uuid in past.domains or uuid in past.shells:
            yield _finding(
                "domain", Verdict.LEAKED, what, f"{dashed(uuid)} is in the journal, but not held"
            )
        else:
            yield _finding("domain", Verdict.FOREIGN, what, f"{dashed(uuid)} is not ours")


def _known(registry: Registry, pools: Pools) -> set[str]:
    """Return the UUIDs of all domains and shells that there should be in Xen."""
    return registry.live.keys() | pools.uuids


def _missing(uuids: set[str], registry: Registry) -> Iterator[Finding]:
    for uuid in uuids:
        live = registry.live.get(uuid)
        if live is not None:
            yield _finding("domain", Verdict.MISSING, live.record.name, "not in Xen's list")
        else:
            yield _finding("shell", Verdict.MISSING, dashed(uuid), "not in Xen's list")


def _routes(registry: Registry, lifecycle: Lifecycle) -> Iterator[Finding]:
    held: set[LiveDomain] = {domain for domain, _ in lifecycle.routes.values()}
    for domain in held:
        name = domain.record.name
        if domain.handle is None:
            yield _finding(
                "console", Verdict.LEAKED, name, "event channels of a domain that is not held"
            )
        elif domain.record.uuid in registry.live:
            yield _finding("console", Verdict.OK, name, f"{domain.console.end} bytes so far")


def _in_burial(lifecycle: Lifecycle) -> set[int]:
    return {domain.record.domid for domain in lifecycle.burials.under_way.values()}


def _nodes(
    stored: set[int], present: dict[str, DomainInfo], registry: Registry, names: NameKeeper
) -> Iterator[Finding]:
    live = {domain.record.domid for domain in registry.live.values()}
    existing = {info.domid for info in present.values()}
    for domid in sorted(stored & names.written.keys()):
        what = f"/local/domain/{domid}"
        if domid in live:
            yield _finding("xenstore", Verdict.OK, what, "name")
        elif domid not in existing:
            yield _finding("xenstore", Verdict.LEAKED, what, "its domain is gone")
