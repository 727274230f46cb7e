"""What there is in XenStore of an unmodified guest, and how it is asked to stop."""

from __future__ import annotations

import pytest

from lightvm.daemon import backends
from lightvm.daemon.backends import OWNER
from lightvm.daemon.disk.loops import physical_device
from lightvm.daemon.disk.vbds import describe_free_vbd
from lightvm.daemon.net.vifs import describe_free_vif
from lightvm.daemon.xenstore.guest import (
    ask_power,
    has_heard,
    introduce,
    lacks_plug,
    plug,
    tell_addresses,
)
from lightvm.daemon.xenstore.memory import MemoryStore
from lightvm.errors import NotPossibleNow
from lightvm.model import Mode, Power, Vif
from lightvm.xen.device_page import STORE_GFN
from lightvm.xen.fake_domain import FakeHandle
from lightvm.xen.hypervisor import Shape

UUID = "6f1c2a5e0d0b4d0e9f5c2f4b8f3f9a01"
DASHED = "6f1c2a5e-0d0b-4d0e-9f5c-2f4b8f3f9a01"
HANDLE = FakeHandle(7, 100, 101, console_port=1, store_port=3)
SHAPE = Shape.of(262144, 2, 1, 1, Mode.XENSTORE)
VIF = Vif(network="lan", mac="02:00:00:00:00:07", ipv4="10.0.0.7/24")
OTHER = Vif(network="lan", mac="02:00:00:00:00:99", ipv4="10.0.0.99/24")
HOME = "/local/domain/7"
CONTROL = f"{HOME}/control"
DEVICES = [
    describe_free_vif(0, VIF, "br0", 1400),
    describe_free_vbd(0, 10, readonly=False),
]


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with one guest."""
    store = MemoryStore()
    introduce(store, HANDLE, UUID, SHAPE, DEVICES)
    plug(store, 7, UUID, DEVICES)
    return store


def access(store: MemoryStore, path: str) -> tuple[str, ...]:
    """Return the permissions of a node: its own, or those of the nearest above it."""
    while path not in store.access:
        path = path.rpartition("/")[0]
    return store.access[path]


def test_xenstored_is_told_of_the_page_and_the_channel(store: MemoryStore) -> None:
    assert store.introduced == {7: (STORE_GFN, 3)}
    assert store.nodes[f"{HOME}/store/ring-ref"] == str(STORE_GFN)
    assert store.nodes[f"{HOME}/store/port"] == "3"


def test_netback_waits_until_its_device_is_in_a_bridge() -> None:
    store = MemoryStore()
    status = f"{backends.BACKENDS}/vif/7/0/hotplug-status"
    introduce(store, HANDLE, UUID, SHAPE, DEVICES)
    assert status not in store.nodes
    plug(store, 7, UUID, DEVICES)
    assert store.nodes[status] == "connected"


def test_a_guest_lacks_what_is_still_to_be_done() -> None:
    store = MemoryStore()
    assert not lacks_plug(store, 7, UUID)
    introduce(store, HANDLE, UUID, SHAPE, DEVICES)
    assert lacks_plug(store, 7, UUID)
    assert not lacks_plug(store, 7, "another")
    plug(store, 7, UUID, DEVICES)
    assert not lacks_plug(store, 7, UUID)


def test_what_only_toolstacks_look_for_comes_later() -> None:
    store = MemoryStore()
    introduce(store, HANDLE, UUID, SHAPE, DEVICES)
    before = set(store.nodes)
    assert not any(path.startswith("/libxl/") for path in before)
    plug(store, 7, UUID, DEVICES)
    later = {path for path in store.nodes.keys() - before if path.startswith(HOME)}
    assert later == set()  # a guest reads nothing else


def test_each_processor_is_online(store: MemoryStore) -> None:
    cpus = {p: v for p, v in store.nodes.items() if p.startswith(f"{HOME}/cpu/")}
    assert cpus == {
        f"{HOME}/cpu/0/availability": "online",
        f"{HOME}/cpu/1/availability": "online",
    }


def test_what_the_guest_may_write_is_its_own_and_nothing_else(store: MemoryStore) -> None:
    owned = {path for path in store.nodes if access(store, path)[0] == "n7"}
    shared = {f"{HOME}/{name}" for name in ("data", "drivers", "feature", "attr", "error")}
    control = {f"{CONTROL}/{name}" for name in ("shutdown", "sysrq")}
    control |= {f"{CONTROL}/feature-{power}" for power in Power}
    fronts = {path for path in store.nodes if path.startswith(f"{HOME}/device/")}
    fronts -= {f"{HOME}/device/vif/0/mtu"}
    assert owned == shared | control | fronts | {f"{HOME}/console/backend-id"}


def test_no_other_guest_reads_anything(store: MemoryStore) -> None:
    for path in store.nodes:
        others = {right[0] for right in access(store, path)[:1]}
        assert others == {"n"}, path
        assert {right[1:] for right in access(store, path)} <= {"0", "7"}


def test_both_ends_of_a_device_know_each_other(store: MemoryStore) -> None:
    for kind, number in (("vif", 0), ("vbd", 51712)):
        front, back = f"{HOME}/device/{kind}/{number}", f"{backends.BACKENDS}/{kind}/7/{number}"
        assert store.nodes[f"{front}/backend"] == back
        assert store.nodes[f"{back}/frontend"] == front
        assert store.nodes[f"{back}/{OWNER}"] == UUID
        assert store.nodes[f"{front}/state"] == "1"


def test_the_mtu_of_its_network_is_told(store: MemoryStore) -> None:
    assert store.nodes[f"{HOME}/device/vif/0/mtu"] == "1400"


def test_other_addresses_are_told_wherever_the_old_ones_are(store: MemoryStore) -> None:
    before = dict(store.nodes)
    tell_addresses(store, 7, [OTHER])
    assert store.nodes.keys() == before.keys()
    changed = {path: value for path, value in store.nodes.items() if value != before[path]}
    assert {path.rpartition("/")[2] for path in changed} == {"mac", "ip"}
    assert len(changed) == 3 + 2
    assert VIF.mac not in store.nodes.values()
    assert "10.0.0.7" not in store.nodes.values()


def test_nothing_is_left_of_a_guest_that_is_removed_before_its_plug() -> None:
    store = MemoryStore()
    introduce(store, HANDLE, UUID, SHAPE, DEVICES)
    backends.disconnect(store, 7, UUID, [])
    assert (store.nodes, store.access, store.introduced) == ({}, {}, {})


def test_nothing_is_left_of_a_guest_that_is_removed(store: MemoryStore) -> None:
    physical: list[str] = []
    backends.disconnect(store, 7, UUID, physical)
    assert (store.nodes, store.access, store.introduced) == ({}, {}, {})
    assert physical == [physical_device(10)]


def test_a_guest_with_the_same_domid_is_not_removed(store: MemoryStore) -> None:
    before = dict(store.nodes)
    backends.disconnect(store, 7, "another", [])
    assert store.nodes == before
    assert store.introduced


@pytest.mark.parametrize("power", list(Power))
def test_a_guest_that_says_nothing_is_asked(store: MemoryStore, power: Power) -> None:
    ask_power(store, 7, power)
    assert store.nodes[f"{CONTROL}/shutdown"] == power
    assert not has_heard(store, 7)


def test_a_guest_has_heard_that_has_emptied_the_node(store: MemoryStore) -> None:
    ask_power(store, 7, Power.POWEROFF)
    store.write(f"{CONTROL}/shutdown", "")
    assert has_heard(store, 7)


def test_a_guest_is_not_asked_for_what_it_does_not_understand(store: MemoryStore) -> None:
    store.write(f"{CONTROL}/feature-poweroff", "1")
    ask_power(store, 7, Power.POWEROFF)
    with pytest.raises(NotPossibleNow, match="it understands poweroff"):
        ask_power(store, 7, Power.SUSPEND)
    assert store.nodes[f"{CONTROL}/shutdown"] == "poweroff"
