"""How the end of a guest is noticed on real Xen: by its word, by the reaper, and after somebody else's destroy."""

from __future__ import annotations

import subprocess

import pytest

from lightvm.blocking import Client
from lightvm.model import ExitReason, WaitFor
from tests.lab.daemon import HELLO, MISBEHAVE, NOOP, eventually, xl_list


@pytest.mark.parametrize(
    ("cmdline", "reason"),
    [
        ("ready crash", ExitReason.CRASH),
        ("ready triple-fault", ExitReason.CRASH),
        ("ready shutdown", ExitReason.POWEROFF),
    ],
)
def test_silent_end_is_noticed(client: Client, cmdline: str, reason: ExitReason) -> None:
    client.create(MISBEHAVE, name="ends", cmdline=cmdline)
    ended = client.wait("ends", WaitFor.EXITED)
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.status) == (reason, None)


@pytest.mark.smoke
def test_foreign_destroy_is_noticed_and_cleaned_up(client: Client) -> None:
    domain = client.create(NOOP, name="victim", wait=WaitFor.READY).domain
    eventually(lambda: xl_list().get(domain.domid) == "victim", "xl shows the name")
    subprocess.run(["xl", "destroy", str(domain.domid)], check=True, timeout=120)
    ended = client.wait("victim", WaitFor.EXITED)
    assert ended.exit is not None
    assert ended.exit.reason is ExitReason.LOST
    eventually(lambda: domain.domid not in xl_list(), "the domain is gone from Xen")


def test_exited_domain_gives_its_memory_back_but_keeps_its_console(client: Client) -> None:
    domain = client.create(HELLO, name="gone").domain
    client.wait("gone", WaitFor.EXITED)
    eventually(lambda: domain.domid not in xl_list(), "Xen has destroyed it")
    assert b"Hello" in client.console_read("gone").data
    assert [d.name for d in client.list()] == []
    assert [d.name for d in client.list(all=True)] == ["gone"]


def test_foreign_domains_are_shown_as_foreign_and_never_touched(client: Client) -> None:
    config = "/var/tmp/foreign.cfg"
    with open(config, "w") as file:
        file.write(f'name = "foreign"\ntype = "pvh"\nkernel = "{NOOP}"\nmemory = 8\nvcpus = 1\n')
    subprocess.run(["xl", "create", "-p", "-q", config], check=True, timeout=120)
    try:
        assert "foreign" in xl_list().values()
        findings = client.doctor()
        assert any(f.verdict == "foreign" for f in findings)
        assert all(domain.name != "foreign" for domain in client.list(all=True))
    finally:
        subprocess.run(["xl", "destroy", "foreign"], check=True, timeout=120)
