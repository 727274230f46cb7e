"""Processors, weight and cap of a domain."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from lightvm.client import Client, open_client
from lightvm.daemon.config import SchedulingSection
from lightvm.daemon.scheduling import find_cpupool, parse_cpus
from lightvm.daemon.xenstore.memory import MemoryStore
from lightvm.errors import BadConfig, BadRequest, HypercallError, StoreFailed
from lightvm.model import Policy
from lightvm.testing import InMemory, default_config, serve_in_memory
from lightvm.xen.fake import FakeHypervisor
from lightvm.xen.hypervisor import Scheduling


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("0", 0b1),
        ("1-3", 0b1110),
        ("0-3,^1", 0b1101),
        ("all", 0xFF),
        ("all,^2-6,4", 0b1001_0011),
        (" 0, 2 ", 0b101),
    ],
)
def test_processors_are_those_of_xl(text: str, mask: int) -> None:
    assert parse_cpus(text, 8, "here") == mask


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no processor"),
        ("one", "'one'"),
        ("-1", "'-1'"),
        ("1-", "'1-'"),
        ("3-1", "processors 0 to 7"),
        ("8", "processors 0 to 7"),
        ("0-8", "processors 0 to 7"),
        ("0,^0", "no processor is left"),
        ("nodes:0", "'nodes:0'"),
        ("²", "no processor"),
        ("99999", "no processor"),
    ],
)
def test_what_is_no_processor_is_named(text: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        parse_cpus(text, 8, "here")
    assert caught.value.where == "here"


async def test_xen_is_told_before_the_domain_runs(lvm: InMemory, client: Client) -> None:
    created = await client.create(
        lvm.noop, vcpus=1, cpus=["1"], cpu_weight=512, cpu_cap=50, paused=True
    )
    domain = lvm.hypervisor.domains[created.domain.domid]
    assert domain.scheduling == Scheduling(masks=(0b10,), weight=512, cap=50)
    assert not domain.started
    info = await client.info(created.domain.uuid)
    assert (info.cpus, info.cpu_weight, info.cpu_cap) == (("1",), 512, 50)


async def test_one_entry_is_for_all_vcpus_and_more_are_for_one_each(
    lvm: InMemory, client: Client
) -> None:
    all_ = await client.create(lvm.noop, vcpus=2, cpus=["0"])
    each = await client.create(lvm.noop, vcpus=3, cpus=["1", "all"])
    domains = lvm.hypervisor.domains
    assert domains[all_.domain.domid].scheduling == Scheduling(masks=(0b1, 0b1))
    assert domains[each.domain.domid].scheduling == Scheduling(masks=(0b10, 0b11))


async def test_who_does_not_ask_costs_no_call(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop)
    assert lvm.hypervisor.calls["schedule"] == 0


@pytest.mark.parametrize(
    ("cpus", "weight", "cap", "where"),
    [
        (["0", "1"], None, None, "request.cpus[1]"),
        (["2"], None, None, "request.cpus[0]"),
        (["0", "x"], None, None, "request.cpus[1]"),
        (None, 0, None, "request.cpu_weight"),
        (None, 65536, None, "request.cpu_weight"),
        (None, None, -1, "request.cpu_cap"),
        (None, None, 65535, "request.cpu_cap"),
    ],
)
async def test_what_cannot_be_is_refused(
    lvm: InMemory,
    client: Client,
    cpus: list[str] | None,
    weight: int | None,
    cap: int | None,
    where: str,
) -> None:
    with pytest.raises(BadRequest) as caught:
        await client.create(lvm.noop, vcpus=1, cpus=cpus, cpu_weight=weight, cpu_cap=cap)
    assert caught.value.where == where
    assert await client.list() == ()
    await client.create(lvm.noop)


async def test_a_restarted_domain_runs_where_it_ran(lvm: InMemory, client: Client) -> None:
    await client.create(lvm.noop, name="a", cpus=["1"], cpu_cap=20, on_reboot=Policy.RESTART)
    again = (await client.restart("a")).domain
    scheduling = lvm.hypervisor.domains[again.domid].scheduling
    assert scheduling == Scheduling(masks=(0b10,), cap=20)


async def test_what_xen_refuses_costs_one_shell_and_no_name(lvm: InMemory, client: Client) -> None:
    lvm.hypervisor.fail("schedule")
    with pytest.raises(HypercallError):
        await client.create(lvm.noop, name="a", cpu_weight=100)
    assert await client.list() == ()
    await client.create(lvm.noop, name="a", cpu_weight=100)


async def test_the_configuration_says_where_those_run_that_do_not_ask(tmp_path: Path) -> None:
    config = replace(default_config(tmp_path), scheduling=SchedulingSection(cpus="all,^0"))
    async with serve_in_memory(tmp_path, config=config) as lvm, open_client(lvm.socket) as client:
        pooled = await client.create(lvm.noop)
        cold = await client.create(lvm.noop, vcpus=2)
        asked = await client.create(lvm.noop, cpus=["all"])
        domains = lvm.hypervisor.domains
        assert domains[pooled.domain.domid].scheduling == Scheduling(masks=(0b10,))
        assert domains[cold.domain.domid].scheduling == Scheduling(masks=(0b10, 0b10))
        assert domains[asked.domain.domid].scheduling == Scheduling(masks=(0b11,))
        assert (await client.info(asked.domain.uuid)).cpus == ("all",)
        assert (await client.info(pooled.domain.uuid)).cpus is None
        lvm.hypervisor.fail("schedule")
        before = set(domains)
        with pytest.raises(HypercallError):
            await client.create(lvm.noop, vcpus=2)
        assert set(domains) == before


async def test_processors_that_the_host_does_not_have_keep_the_daemon_from_starting(
    tmp_path: Path,
) -> None:
    config = replace(default_config(tmp_path), scheduling=SchedulingSection(cpus="2"))
    with pytest.raises(ExceptionGroup) as caught:
        async with serve_in_memory(tmp_path, config=config):
            pass
    refused = caught.value.subgroup(BadConfig)
    assert refused is not None
    assert "scheduling.cpus" in repr(refused.exceptions)


@pytest.fixture
def store() -> MemoryStore:
    """What xl writes for dom0's cpupool and one more."""
    store = MemoryStore()
    store.write("/local/pool/0/name", "Pool-0")
    store.write("/local/pool/3/name", "guests")
    return store


def test_a_cpupool_is_found_by_its_name(store: MemoryStore) -> None:
    assert find_cpupool("guests", store) == 3


def test_dom0s_own_cpupool_needs_no_xenstore(store: MemoryStore) -> None:
    store.broken = True
    assert find_cpupool("Pool-0", store) == 0
    with pytest.raises(StoreFailed):
        find_cpupool("guests", store)


async def test_all_domains_run_in_the_cpupool_that_is_configured(
    tmp_path: Path, store: MemoryStore
) -> None:
    config = replace(default_config(tmp_path), scheduling=SchedulingSection(cpupool="guests"))
    hypervisor = FakeHypervisor()
    hypervisor.cpupools.add(3)
    async with (
        serve_in_memory(tmp_path, config=config, hypervisor=hypervisor, store=store) as lvm,
        open_client(lvm.socket) as client,
    ):
        await client.create(lvm.noop)
        await client.create(lvm.noop, vcpus=2)
        assert {domain.cpupool for domain in hypervisor.domains.values()} == {3}


async def test_a_cpupool_that_is_not_there_keeps_the_daemon_from_starting(
    tmp_path: Path, store: MemoryStore
) -> None:
    config = replace(default_config(tmp_path), scheduling=SchedulingSection(cpupool="other"))
    with pytest.raises(ExceptionGroup) as caught:
        async with serve_in_memory(tmp_path, config=config, store=store):
            pass
    refused = caught.value.subgroup(BadConfig)
    assert refused is not None
    assert "scheduling.cpupool" in repr(refused.exceptions)
