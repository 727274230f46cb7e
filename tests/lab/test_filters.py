"""Networks with NAT and anti-spoofing: real guests behind real nftables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lightvm.blocking import Client
from lightvm.daemon.net.nftables import Nftables, NftFilters
from lightvm.model import Created, Source, WaitFor
from tests.lab.daemon import DAYTIME, DaemonProcess, beside, eventually
from tests.lab.network import NET, address
from tests.lab.test_network import daytime, ping

BRIDGE, HOST = "lvguard0", "10.79.0.1"
NETWORK = f"""
[networks.default]
bridge = "{BRIDGE}"
address = "{HOST}/24"
nat = true
antispoof = true
[flavors.net]
networks = ["default"]
low = 2
high = 2
"""
WORLD, UPLINK = "lvworld", "lvuplink"
OUTSIDE, FAR = "192.0.2.1", "192.0.2.2"
LISTENER = f"""
import socket
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("{FAR}", 5555))
listener.settimeout(60)
print("listening", flush=True)
print(listener.recvfrom(100)[1][0])
"""
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture(scope="module")
def daemon(
    daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """A daemon with a network that is guarded and leads out, beside the other one."""
    before = FORWARDING.read_text()
    held = (lambda: {path.name for path in Path(f"/sys/class/net/{BRIDGE}/brif").glob("vif*")},)
    with beside(
        daemon, tmp_path_factory.mktemp("filters"), high=2, more=NETWORK, held=held
    ) as process:
        yield process
    assert guarded() == (set(), {})
    with closing(NftFilters()) as filters:
        filters.rebuild((), {}, guards=False, quiet=False)
    FORWARDING.write_text(before)
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


@pytest.fixture
def world() -> Iterator[None]:
    """A network namespace that is another host, beyond this one."""
    for command in (
        f"ip netns add {WORLD}",
        f"ip link add {UPLINK} type veth peer name {UPLINK} netns {WORLD}",
        f"ip address add {OUTSIDE}/24 dev {UPLINK}",
        f"ip link set {UPLINK} up",
        f"ip -n {WORLD} address add {FAR}/24 dev {UPLINK}",
        f"ip -n {WORLD} link set {UPLINK} up",
    ):
        subprocess.run(command.split(), check=True)
    yield
    subprocess.run(["ip", "netns", "delete", WORLD], check=True)


def nft(commands: str) -> None:
    """Do something to the tables, as somebody else may."""
    with closing(Nftables()) as library:
        library.run(commands)


def guarded() -> tuple[set[str], dict[str, list[str]]]:
    """Return the ports that are guarded, and by port what those may send from that may send."""
    with closing(Nftables()) as library:
        listed = json.loads(library.run("list table bridge lightvm", json=True))["nftables"]
    sets = {item["set"]["name"]: item["set"].get("elem", []) for item in listed if "set" in item}
    sources = (element["concat"] for element in sets["sources"])
    return set(sets["guarded"]), {port: rest for port, *rest in sources}


def source(created: Created) -> dict[str, list[str]]:
    """Return what a domain may send from, by port."""
    return {f"vif{created.domain.domid}.0": [created.domain.vifs[0].mac, address(created)]}


@pytest.mark.smoke
def test_a_guarded_guest_answers_and_is_forgotten_with_its_port(
    client: Client, daemon: DaemonProcess
) -> None:
    created = client.create(DAYTIME, nets=NET, wait=WaitFor.READY)
    assert created.source is Source.POOL
    ping(address(created))
    daytime(address(created))
    daemon.wait_full()
    ports, sources = guarded()
    assert len(ports) == len(sources) == 1 + daemon.high
    assert sources.items() >= source(created).items()
    client.destroy(created.domain.uuid)
    eventually(lambda: not source(created).keys() & guarded()[1].keys(), "it may not send")
    eventually(lambda: len(guarded()[0]) == daemon.high, "only the ports of shells are guarded")


def test_what_is_sent_from_an_address_that_was_not_given_is_dropped(
    client: Client, daemon: DaemonProcess
) -> None:
    created = client.create(DAYTIME, name="kept", nets=NET, wait=WaitFor.READY)
    other = client.create(DAYTIME, nets=NET, wait=WaitFor.READY)
    ping(address(created))
    ((port, (mac, ipv4)),) = source(created).items()
    # What it says is now in another's name.
    nft(f'delete element bridge lightvm sources {{ "{port}" . {mac} . {ipv4} }}')
    done = subprocess.run(["ping", "-c", "2", "-W", "2", ipv4], capture_output=True, check=False)
    assert done.returncode == 1
    ping(address(other))
    daemon.kill()
    ping(address(other))  # guarded or not, nobody needs the daemon
    daemon.start()
    assert guarded()[1].items() >= (source(created) | source(other)).items()
    ping(ipv4)


def test_tables_that_somebody_removed_come_back(client: Client) -> None:
    created = client.create(DAYTIME, nets=NET, wait=WaitFor.READY)
    nft("delete table bridge lightvm\ndelete table inet lightvm")

    def there() -> bool:
        with closing(Nftables()) as library:
            listed = library.run("list ruleset")
        return all(f"table {family} lightvm" in listed for family in ("inet", "bridge"))

    eventually(there, "both tables are back", 30)
    assert guarded()[1].items() >= source(created).items()
    ping(address(created))


@pytest.mark.usefixtures("world")
def test_a_guest_reaches_the_world_as_its_host_does(client: Client) -> None:
    listener = subprocess.Popen(
        ["ip", "netns", "exec", WORLD, sys.executable, "-S", "-E", "-c", LISTENER],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdout is not None
    with listener:
        assert listener.stdout.readline() == "listening\n"
        client.create(DAYTIME, nets=NET, cmdline=f"beacon={FAR}:5555", wait=WaitFor.READY)
        assert listener.stdout.read() == f"{OUTSIDE}\n"
