"""Doctor: what is ours, what leaked, what is missing, what is not ours."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lightvm import errors
from lightvm.client import Client
from lightvm.model import Finding, Verdict, WaitFor
from lightvm.testing import InMemory
from lightvm.xen.domain_info import DomainInfo
from tests.waits import settle, until


def told(findings: tuple[Finding, ...], verdict: Verdict) -> list[tuple[str, str]]:
    """Return kind and subject of the findings with a verdict."""
    return [(f.kind, f.what) for f in findings if f.verdict is verdict]


async def test_all_is_well_on_a_host_that_is_well(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web", wait=WaitFor.READY)
    await settle()
    findings = await client.doctor()
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    domid = created.domain.domid
    ok = told(findings, Verdict.OK)
    assert ("domain", f"domain {domid}") in ok
    assert ("console", "web") in ok
    assert ("xenstore", f"/local/domain/{domid}") in ok
    assert sum(kind == "shell" for kind, _ in ok) == lvm.service.pools.count()
    details = [finding.detail for finding in findings if finding.kind == "domain"]
    assert details == ["web (ready)"]


async def test_a_foreign_domain_is_told_as_that(lvm: InMemory, client: Client) -> None:
    domid = lvm.hypervisor.foreign()
    lvm.store.nodes[f"/local/domain/{domid}/name"] = "foreign"
    findings = await client.doctor()
    assert told(findings, Verdict.FOREIGN) == [("domain", f"domain {domid}")]
    assert told(findings, Verdict.LEAKED) == []


async def test_a_shell_in_work_is_no_leak(lvm: InMemory, client: Client) -> None:
    go_on = lvm.hypervisor.hang("release")
    creator, shell = lvm.service.creator, lvm.service.pools["tiny"].shells.pop()
    creator._background.start_soon(creator._discard, shell)
    await settle()
    findings = await client.doctor()
    assert told(findings, Verdict.LEAKED) == told(findings, Verdict.FOREIGN) == []
    assert ("shell", f"domain {shell.handle.domid}") in told(findings, Verdict.OK)
    go_on.set()


async def test_a_domain_that_is_being_given_back_is_no_leak(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    go_on = lvm.hypervisor.hang("destroy")
    lvm.hypervisor.crash(created.domain.domid)
    await client.wait("web")
    findings = await client.doctor()
    assert told(findings, Verdict.LEAKED) == []
    go_on.set()


async def test_a_domain_that_could_not_be_given_back_is_a_leak(
    lvm: InMemory, client: Client
) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    lvm.hypervisor.fail("destroy")
    lvm.hypervisor.crash(created.domain.domid)
    await client.wait("web")
    await settle()
    findings = await client.doctor()
    assert told(findings, Verdict.LEAKED) == [("domain", f"domain {created.domain.domid}")]
    await client.destroy("web")
    await settle()
    assert told(await client.doctor(), Verdict.LEAKED) == []


async def test_what_is_in_the_journal_and_in_xen_but_nobody_s_is_a_leak(
    lvm: InMemory, client: Client
) -> None:
    shell = lvm.service.pools["tiny"].shells.pop()
    findings = await client.doctor()
    assert told(findings, Verdict.LEAKED) == [("domain", f"domain {shell.handle.domid}")]


async def test_a_domain_that_is_not_in_xen_is_missing(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await client.create(lvm.noop, name="web")

    async def nobody_ended(watched: object) -> Sequence[DomainInfo]:
        return []

    monkeypatch.setattr(lvm.hypervisor, "find_changed", nobody_ended)
    lvm.hypervisor.kill(created.domain.domid)
    assert told(await client.doctor(), Verdict.MISSING) == [("domain", "web")]


async def test_a_shell_that_is_not_in_xen_is_missing(lvm: InMemory, client: Client) -> None:
    shell = lvm.service.pools["tiny"].shells[0]
    lvm.hypervisor.kill(shell.handle.domid)
    missing = told(await client.doctor(), Verdict.MISSING)
    assert [kind for kind, _ in missing] == ["shell"]
    assert missing[0][1].replace("-", "") == shell.uuid


async def test_a_node_of_a_domain_that_is_gone_is_a_leak(lvm: InMemory, client: Client) -> None:
    created = await client.create(lvm.noop, name="web")
    await settle()
    domid = created.domain.domid
    await client.destroy("web")
    await settle()
    lvm.service.names.written[domid] = "x"
    lvm.store.nodes[f"/local/domain/{domid}/name"] = "web"
    assert told(await client.doctor(), Verdict.LEAKED) == [("xenstore", f"/local/domain/{domid}")]


async def test_a_store_that_does_not_answer_is_missing(lvm: InMemory, client: Client) -> None:
    lvm.store.broken = True
    assert told(await client.doctor(), Verdict.MISSING) == [("xenstore", "xenstored")]


async def test_events_of_a_domain_that_is_not_held_are_a_leak(
    lvm: InMemory, client: Client
) -> None:
    await client.create(lvm.noop, name="web")
    await settle()
    domain = lvm.service.registry.find("web")
    handle, domain.handle = domain.handle, None
    assert ("console", "web") in told(await client.doctor(), Verdict.LEAKED)
    domain.handle = handle


async def test_lines_of_the_journal_that_could_not_be_read_are_told(
    lvm: InMemory, client: Client
) -> None:
    lvm.service.journal.past.unreadable = 3
    findings = [finding for finding in await client.doctor() if finding.kind == "journal"]
    assert [finding.verdict for finding in findings] == [Verdict.LEAKED]
    assert findings[0].detail.startswith("3 lines")


async def test_a_xen_that_does_not_answer_is_an_error(lvm: InMemory, client: Client) -> None:
    lvm.hypervisor.fail("list_domains")
    with pytest.raises(errors.HypercallError):
        await client.doctor()


async def test_what_comes_and_goes_meanwhile_is_neither_missing_nor_leaked(
    lvm: InMemory, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.create(lvm.noop, name="going")
    await settle()
    real = lvm.hypervisor.list_domains

    async def list_slowly() -> Sequence[DomainInfo]:
        listed = await real()
        await client.destroy("going")
        await client.create(lvm.noop, name="coming", memory_kib=8192)
        for _ in range(3):
            await client.create(lvm.noop)
        await until(lambda: lvm.service.pools.count() == 4)
        return listed

    monkeypatch.setattr(lvm.hypervisor, "list_domains", list_slowly)
    findings = await client.doctor()
    assert {finding.verdict for finding in findings} == {Verdict.OK}
