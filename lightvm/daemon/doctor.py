"""Everything on this host that belongs to LightVM, and every leak: what is known against what is there."""

from __future__ import annotations

from collections.abc import Iterator

from lightvm.daemon.domains import LiveDomain, Registry, dashed
from lightvm.daemon.journal import Past
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.shells import Pools
from lightvm.daemon.xenstore import NameKeeper
from lightvm.model import Finding, Verdict
from lightvm.xen.hypervisor import DomainInfo, Hypervisor


async def examine(
    *,
    hypervisor: Hypervisor,
    registry: Registry,
    pools: Pools,
    lifecycle: Lifecycle,
    names: NameKeeper,
    past: Past,
) -> tuple[Finding, ...]:
    """Look at Xen, XenStore and our own tables, and compare. Raises `HypercallError`.

    What comes or goes while Xen is being asked is nobody's fault, and is left out.
    """
    before = _known(registry, pools)
    present = {info.uuid.hex(): info for info in await hypervisor.list_domains()}
    after = _known(registry, pools)
    present = {uuid: info for uuid, info in present.items() if uuid in after or uuid not in before}
    findings = list(_domains(present, registry, pools, past))
    findings += _missing((before & after) - present.keys(), registry)
    findings += _routes(registry, lifecycle)
    try:
        stored = await names.domids_present()
    except OSError as exc:
        findings.append(_finding("xenstore", Verdict.MISSING, "xenstored", str(exc)))
    else:
        findings += _nodes(stored, present, registry, names)
    if past.unreadable:
        detail = f"{past.unreadable} lines of the journal could not be read at start"
        findings.append(_finding("journal", Verdict.LEAKED, "journal", detail))
    return tuple(findings)


def _finding(kind: str, verdict: Verdict, what: str, detail: str) -> Finding:
    return Finding(kind=kind, verdict=verdict, what=what, detail=detail)


def _domains(
    present: dict[str, DomainInfo], registry: Registry, pools: Pools, past: Past
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
