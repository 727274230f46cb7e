"""LightVM and xl on one host, at once: neither minds the other, and nothing is left of either."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightvm.blocking import Client
from lightvm.errors import NotOurs
from lightvm.model import Mode, State, WaitFor
from tests.lab.daemon import NOOP, DaemonProcess, beside, command, eventually, xl_list
from tests.lab.equivalence import said
from tests.lab.network import BRIDGE, NET, NETWORK

FLAVOR = """
[flavors.xs]
mode = "xenstore"
memory_kib = 8192
networks = ["default"]
low = 4
high = 4
"""
CONFIG = """
type = "pvh"
name = "neighbour"
kernel = "{kernel}"
memory = 4
vcpus = 1
vif = ["bridge={bridge}"]
"""


@pytest.fixture(scope="module")
def daemon(
    daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """A daemon with shells of both modes, beside the other one, whose pool stays full meanwhile."""
    directory = tmp_path_factory.mktemp("neighbours")
    with beside(daemon, directory, high=4, more=NETWORK + FLAVOR) as process:
        yield process
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration for xl."""
    path = tmp_path / "neighbour.cfg"
    path.write_text(CONFIG.format(kernel=NOOP, bridge=BRIDGE))
    return path


@pytest.fixture
def neighbour(config: Path) -> Iterator[int]:
    """A guest of xl's; yields its domid."""
    subprocess.run(["xl", "create", "-q", config], check=True, timeout=120)
    yield int(said("xl", "domid", "neighbour"))
    subprocess.run(["xl", "destroy", "neighbour"], check=False, capture_output=True)


@contextmanager
def xl_loop(config: Path) -> Iterator[list[str]]:
    """Let xl create and destroy a guest, again and again; yields what went wrong in each round, or nothing."""
    rounds: list[str] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            complaints = ""
            for verb in (["create", "-q", str(config)], ["destroy", "neighbour"]):
                done = subprocess.run(
                    ["xl", *verb], capture_output=True, text=True, timeout=300, check=False
                )
                complaints += done.stderr if done.returncode else ""
            rounds.append(complaints)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield rounds
    finally:
        stop.set()
        thread.join()


def all_nodes() -> set[str]:
    """Return all paths in XenStore."""
    return {line.partition(" = ")[0] for line in said("xenstore-ls", "-f").splitlines()}


@pytest.mark.scale  # xl gives up by itself where a script of its own takes longer than 40 s, as on a slow machine
@pytest.mark.parametrize(("cycles", "modes"), [(25, tuple(Mode)), (1000, (Mode.XENSTORE,))])
def test_loops_of_both_at_once_leave_nothing(
    daemon: DaemonProcess, client: Client, config: Path, cycles: int, modes: tuple[Mode, ...]
) -> None:
    daemon.wait_full()
    before, domains = len(all_nodes()), xl_list().keys()
    with xl_loop(config) as rounds:
        eventually(lambda: bool(rounds), "xl has gone round", 300)
        for _ in range(cycles):
            for mode in modes:
                created = client.create(NOOP, nets=NET, mode=mode)
                assert created.domain.mode is mode
                client.destroy(created.domain.uuid)
    print(f"{cycles} cycles in {' and '.join(modes)} beside {len(rounds)} of xl's")
    assert rounds
    assert not any(rounds)
    assert client.list(all=True) == ()
    daemon.wait_full()
    eventually(lambda: len(xl_list()) == len(domains), "xl lists as many as before")
    eventually(lambda: len(all_nodes()) == before, f"{before} nodes as before")


def test_a_foreign_domain_is_shown_and_left_alone(
    daemon: DaemonProcess, client: Client, neighbour: int
) -> None:
    (theirs,) = [domain for domain in client.foreign() if domain.name == "neighbour"]
    assert (theirs.domid, theirs.state, theirs.vcpus) == (neighbour, State.RUNNING, 1)
    listed = command("list", "--all", socket=daemon.socket).stdout
    (line,) = [line for line in listed.splitlines() if line.startswith("neighbour ")]
    assert "(foreign)" in line
    done = command("destroy", "neighbour", socket=daemon.socket, check=False)
    assert done.returncode == 1
    assert "not-ours" in done.stderr
    for refused in (
        *(client.pause, client.unpause, client.stop, client.restart),
        *(client.destroy, client.info, client.console_read),
    ):
        with pytest.raises(NotOurs):
            refused("neighbour")
    assert xl_state("neighbour") == "running"
    for shell in client.foreign():  # those of the daemon beside this one, too
        with pytest.raises(NotOurs):
            client.destroy(str(shell.domid))


def test_foreign_hands_it_to_xl(daemon: DaemonProcess, client: Client, neighbour: int) -> None:
    command("pause", "--foreign", "neighbour", socket=daemon.socket)
    assert xl_state("neighbour") == "paused"
    (theirs,) = [domain for domain in client.foreign() if domain.domid == neighbour]
    assert theirs.state is State.PAUSED
    command("unpause", "--foreign", str(neighbour), socket=daemon.socket)
    assert xl_state("neighbour") == "running"
    command("destroy", "--foreign", "neighbour", socket=daemon.socket)
    assert neighbour not in xl_list()
    assert not [node for node in all_nodes() if f"/{neighbour}/" in f"{node}/"]


def xl_state(name: str) -> str:
    """Return what xl says that a domain does."""
    flags = said("xl", "list", name).splitlines()[1].split()[4]
    return "paused" if "p" in flags else "running"


def test_what_xl_pauses_is_noticed(client: Client) -> None:
    for mode in Mode:
        created = client.create(NOOP, name=f"ours-{mode}", nets=NET, mode=mode)
        name, domid = created.domain.name, str(created.domain.domid)
        subprocess.run(["xl", "pause", domid], check=True)
        eventually(lambda: client.info(name).state is State.PAUSED, "it is paused")  # noqa: B023
        subprocess.run(["xl", "unpause", domid], check=True)
        eventually(lambda: client.info(name).state is not State.PAUSED, "it runs")  # noqa: B023


def test_tools_of_xen_show_ours(client: Client) -> None:
    created = client.create(NOOP, name="shown", nets=NET, mode=Mode.XENSTORE)
    domid = str(created.domain.domid)
    eventually(lambda: "shown" in xl_list().values(), "xl knows its name")
    row = said("xl", "list", "shown").splitlines()[1].split()
    assert row[1:4] == [domid, "8", "1"]
    top = said("xentop", "-b", "-i", "1", "-n")
    assert any(line.split()[:1] == ["shown"] for line in top.splitlines())
    assert said("xenstore-read", f"/local/domain/{domid}/name").strip() == "shown"
    assert "nr_cpus" in said("xl", "info")
    lines = said("xl", "network-list", "shown").splitlines()
    assert created.domain.vifs[0].mac in lines[1]


def processors_of(name: str) -> list[str]:
    """Return where xl says that each vCPU of a domain may run."""
    eventually(lambda: name in xl_list().values(), "xl knows its name")
    return [line.split()[6] for line in said("xl", "vcpu-list", name).splitlines()[1:]]


def test_processors_of_those_that_do_not_ask_are_what_xl_sees(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    with (
        beside(daemon, tmp_path, high=1, more='[scheduling]\ncpus = "all,^0"\n') as process,
        Client(process.socket) as client,
    ):
        client.create(NOOP, name="pooled", wait=WaitFor.READY)
        client.create(NOOP, name="cold", vcpus=2, wait=WaitFor.READY)
        client.create(NOOP, name="asked", cpus=["0"])
        assert [processors_of(name) for name in ("pooled", "cold", "asked")] == [
            ["1"],
            ["1", "1"],
            ["0"],
        ]
        for name in ("pooled", "cold", "asked"):
            client.destroy(name, wait=True)


@pytest.fixture
def cpupool() -> Iterator[str]:
    """A cpupool with the last processor, beside that of dom0; yields its name."""
    subprocess.run(["xl", "cpupool-cpu-remove", "Pool-0", "1"], check=True)
    subprocess.run(["xl", "cpupool-create", 'name="guests"', 'cpus="1"'], check=True)
    yield "guests"
    subprocess.run(["xl", "cpupool-destroy", "guests"], check=True)
    subprocess.run(["xl", "cpupool-cpu-add", "Pool-0", "1"], check=True)


def test_domains_run_in_the_cpupool_that_is_configured(
    daemon: DaemonProcess, tmp_path: Path, cpupool: str
) -> None:
    with (
        beside(daemon, tmp_path, high=1, more=f'[scheduling]\ncpupool = "{cpupool}"\n') as process,
        Client(process.socket) as client,
    ):
        created = [
            client.create(NOOP, name="pooled", wait=WaitFor.READY),
            client.create(NOOP, name="cold", vcpus=2, wait=WaitFor.READY),
        ]
        lines = said("xl", "list", "-c").splitlines()[1:]
        pools = {int(domid): pool for _, domid, *_, pool in map(str.split, lines)}
        assert {pools[reply.domain.domid] for reply in created} == {cpupool}
        assert pools[0] == "Pool-0"
        for reply in created:
            client.destroy(reply.domain.uuid, wait=True)


def test_processors_weight_and_cap_are_what_xl_sees(client: Client) -> None:
    client.create(NOOP, name="pinned", vcpus=2, cpus=["0", "1"], cpu_weight=300, cpu_cap=70)
    assert processors_of("pinned") == ["0", "1"]
    assert said("xl", "sched-credit2", "-d", "pinned").split()[-2:] == ["300", "70"]
