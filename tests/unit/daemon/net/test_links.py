"""The host's network devices, as far as no privilege is needed; the rest is in tests/lab."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from lightvm.daemon.net.links import Links, MemoryPorts
from lightvm.errors import LinkFailed
from lightvm.testing import MemoryStore

pytest.importorskip("pyroute2")

NONE = "lightvm-none"
BACKEND = "/local/domain/0/backend/vif/7/0/state"


@pytest.fixture
def links() -> Iterator[Links]:
    links = Links()
    yield links
    assert links._socket is None  # nothing here talks to the kernel
    links.close()


def test_a_network_device_has_a_number(links: Links) -> None:
    assert links.index("lo") == 1


def test_a_network_device_that_is_not_there_has_none(links: Links) -> None:
    with pytest.raises(LinkFailed) as caught:
        links.index(NONE)
    assert caught.value.where == NONE


def test_a_bridge_that_is_not_there_needs_an_address_to_be_made(links: Links) -> None:
    with pytest.raises(LinkFailed, match="no such bridge") as caught:
        links.ensure_bridge(NONE, None)
    assert caught.value.where == NONE


@pytest.mark.parametrize("address", [None, IPv4Interface("10.0.0.1/24")])
def test_what_is_not_a_bridge_is_not_taken_for_one(
    links: Links, address: IPv4Interface | None
) -> None:
    with pytest.raises(LinkFailed, match="not a bridge"):
        links.ensure_bridge("lo", address)


@pytest.mark.parametrize("name", ["lo", NONE])
def test_what_is_not_a_bridge_has_no_ports(links: Links, name: str) -> None:
    assert links.count_ports(name) == 0


def test_a_network_device_is_there_when_it_has_its_number(tmp_path: Path) -> None:
    """Linux makes a device's directory first, and then what is in it."""
    links = Links(devices=tmp_path)
    (tmp_path / "vif7.0").mkdir()
    assert not links.has("vif7.0")
    (tmp_path / "vif7.0" / "ifindex").write_text("12\n")
    assert links.has("vif7.0")
    links.wait_for("vif7.0")
    assert links.index("vif7.0") == 12


def test_a_vif_that_does_not_come_cannot_be_put_into_a_bridge(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.daemon.net.links.DEVICE_SECONDS", 0)
    for attempt in (links.wait_for, lambda name: links.add_port(name, "lo", 1500)):
        with pytest.raises(LinkFailed) as caught:
            attempt(NONE)
        assert caught.value.where == NONE


# Ports in memory


def test_a_port_in_memory_comes_and_goes_with_its_back_end() -> None:
    store = MemoryStore()
    ports = MemoryPorts(store)
    store.write(BACKEND, "1")
    ports.add_port("vif7.0", "br0", 1500)
    assert ports.ports == {"vif7.0": "br0"}
    store.remove("/local/domain/0/backend/vif/7")
    assert ports.ports == {}


def test_a_port_in_memory_needs_a_back_end() -> None:
    with pytest.raises(LinkFailed):
        MemoryPorts(MemoryStore()).add_port("vif7.0", "br0", 1500)


def test_broken_ports_in_memory_raise() -> None:
    store = MemoryStore()
    store.write(BACKEND, "1")
    ports = MemoryPorts(store)
    ports.broken = True
    with pytest.raises(LinkFailed):
        ports.add_port("vif7.0", "br0", 1500)
    with pytest.raises(LinkFailed):
        ports.ensure_bridge("br0", None)
    assert (ports.ports, ports.bridges) == ({}, {})
