"""Back-ends: what is written in which order, what is waited for, and what is removed."""

from __future__ import annotations

import pytest

from lightvm.daemon import backends
from lightvm.daemon.backends import BACKENDS, OWNER, Device, Found
from lightvm.errors import DiskFailed, LinkFailed, TimedOut
from lightvm.testing import MemoryStore

VIF = Device("vif", 0, front={"tx-ring-ref": "8"}, back={"handle": "0"})
VBD = Device("vbd", 51712, front={"ring-ref": "24"}, back={"physical-device": "7:10000"})
HOME = "/local/domain/7"


class RecordingStore(MemoryStore):
    """Remembers which nodes were written, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, path: str, value: str) -> None:
        self.written.append(path)
        super().write(path, value)


class SilentStore(MemoryStore):
    """A store with back-ends that never get beyond a state."""

    def __init__(self, last: str) -> None:
        super().__init__()
        self._last = last

    def _act_as_backend(self, path: str, value: str) -> None:
        super()._act_as_backend(path, value)
        for node in self.nodes:
            if node.startswith(BACKENDS) and node.endswith("/state"):
                self.nodes[node] = min(self.nodes[node], self._last)


def connected(domid: int = 7, uuid: str = "ours", *devices: Device) -> MemoryStore:
    """Return a store with devices in it."""
    store = MemoryStore()
    connect(store, domid, uuid, *devices)
    return store


def connect(store: MemoryStore, domid: int, uuid: str, *devices: Device) -> None:
    devices = devices or (VIF, VBD)
    backends.announce(store, domid, uuid, devices)
    backends.wait(store, domid, devices, backends.WAITING)
    backends.connect(store, domid, devices)


def disconnect(store: MemoryStore, domid: int = 7, uuid: str = "ours") -> list[str]:
    physical: list[str] = []
    backends.disconnect(store, domid, uuid, physical)
    return physical


# Connecting


def test_a_back_end_knows_its_front_end() -> None:
    back = f"{BACKENDS}/vif/7/0"
    store = connected()
    assert store.nodes[f"{back}/frontend"] == f"{HOME}/device/vif/0"
    assert store.nodes[f"{back}/frontend-id"] == "7"


def test_each_end_is_told_what_its_kind_wants() -> None:
    store = connected()
    assert store.nodes[f"{HOME}/device/vif/0/tx-ring-ref"] == "8"
    assert store.nodes[f"{BACKENDS}/vif/7/0/handle"] == "0"
    assert store.nodes[f"{HOME}/device/vbd/51712/ring-ref"] == "24"
    assert store.nodes[f"{BACKENDS}/vbd/7/51712/physical-device"] == "7:10000"


def test_whose_a_domain_is_stands_there_before_anything_else() -> None:
    store = RecordingStore()
    backends.announce(store, 7, "ours", [VIF])
    assert store.written[0] == f"{HOME}/{OWNER}"
    theirs = [path for path in store.written if path.startswith(BACKENDS)]
    assert theirs[0] == f"{BACKENDS}/vif/7/0/{OWNER}"
    assert store.nodes[f"{HOME}/{OWNER}"] == store.nodes[theirs[0]] == "ours"


@pytest.mark.parametrize("end", [f"{HOME}/device/vif/0/", f"{BACKENDS}/vif/7/0/"])
def test_an_end_s_state_is_written_when_all_else_is_there(end: str) -> None:
    store = RecordingStore()
    backends.announce(store, 7, "ours", [VIF])
    written = [path for path in store.written if path.startswith(end)]
    assert written[-1] == f"{end}state"
    assert written.count(written[-1]) == 1


def test_the_guest_s_end_is_there_before_a_back_end_hears_of_it() -> None:
    store = RecordingStore()
    backends.announce(store, 7, "ours", [VIF])
    assert store.written.index(f"{HOME}/device/vif/0/state") < store.written.index(
        f"{BACKENDS}/vif/7/0/{OWNER}"
    )


def test_a_device_that_is_announced_is_not_connected_yet() -> None:
    store = MemoryStore()
    backends.announce(store, 7, "ours", [VIF, VBD])
    states = {path: value for path, value in store.nodes.items() if path.endswith("/state")}
    assert states == {
        f"{HOME}/device/vif/0/state": "1",
        f"{HOME}/device/vbd/51712/state": "1",
        f"{BACKENDS}/vif/7/0/state": "2",
        f"{BACKENDS}/vbd/7/51712/state": "2",
    }


def test_both_ends_are_connected_in_the_end() -> None:
    store = connected()
    assert {value for path, value in store.nodes.items() if path.endswith("/state")} == {"4"}


@pytest.mark.parametrize(("last", "said"), [("1", "in state 1, not 2"), ("2", "in state 2, not 4")])
def test_a_back_end_that_does_not_get_there_is_given_up(
    monkeypatch: pytest.MonkeyPatch, last: str, said: str
) -> None:
    monkeypatch.setattr(backends, "CONNECT_SECONDS", 0)
    with pytest.raises(TimedOut, match=said) as caught:
        connect(SilentStore(last), 7, "ours", VIF)
    assert caught.value.where == f"{BACKENDS}/vif/7/0/state"


@pytest.mark.parametrize("state", ["5", "6", None])
@pytest.mark.parametrize(("device", "error"), [(VIF, LinkFailed), (VBD, DiskFailed)])
def test_a_back_end_that_ends_is_not_waited_for(
    device: Device, error: type[Exception], state: str | None
) -> None:
    store = MemoryStore()
    backends.announce(store, 7, "ours", [device])
    path = f"{backends.back_path(7, device)}/state"
    if state is None:
        store.remove(path)
    else:
        store.nodes[path] = state
    with pytest.raises(error, match="has ended"):
        backends.wait(store, 7, [device], backends.WAITING)


# Disconnecting


def test_nothing_is_left_of_a_domain_that_is_disconnected() -> None:
    store = connected()
    store.nodes[f"{HOME}/name"] = "web"
    disconnect(store)
    assert store.nodes == {}


def test_disconnecting_says_what_was_behind_the_disks() -> None:
    other = VBD._replace(number=51728, back={"physical-device": "7:10001"})
    assert sorted(disconnect(connected(7, "ours", VIF, VBD, other))) == ["7:10000", "7:10001"]


def test_what_is_disconnected_already_is_no_error() -> None:
    store = connected()
    disconnect(store)
    assert disconnect(store) == []


def test_other_domains_keep_their_devices() -> None:
    store = connected(77, "other")
    before = dict(store.nodes)
    connect(store, 7, "ours")
    disconnect(store)
    assert store.nodes == before


def test_a_domain_that_has_the_domid_by_now_keeps_its_devices() -> None:
    store = connected(7, "theirs")
    before = dict(store.nodes)
    assert disconnect(store) == []
    assert store.nodes == before


def test_a_toolstack_that_has_the_domid_by_now_keeps_what_it_wrote() -> None:
    store = MemoryStore()
    before = {f"{HOME}/name": "theirs", f"{BACKENDS}/vif/7/0/state": "4"}
    store.nodes = dict(before)
    disconnect(store)
    assert store.nodes == before


def test_of_a_domid_s_devices_only_ours_are_removed() -> None:
    store = connected()
    theirs = {f"{BACKENDS}/vif/7/1/{OWNER}": "theirs", f"{BACKENDS}/vif/7/2/state": "4"}
    store.nodes |= theirs
    disconnect(store)
    assert store.nodes == theirs


def test_the_directory_of_a_domain_without_devices_is_removed() -> None:
    store = connected(7, "ours", VIF)
    store.nodes[f"{BACKENDS}/vif/7"] = ""
    disconnect(store)
    assert store.nodes == {}


def test_a_removal_that_fails_says_what_was_removed_before() -> None:
    class Failing(MemoryStore):
        def remove(self, path: str) -> None:
            if path.endswith("/51728"):
                raise OSError("no")
            super().remove(path)

    store = Failing()
    connect(store, 7, "ours", VBD, VBD._replace(number=51728))
    physical: list[str] = []
    with pytest.raises(OSError, match="no"):
        backends.disconnect(store, 7, "ours", physical)
    assert physical == ["7:10000"]


# Finding


def test_devices_are_found_with_their_domain() -> None:
    store = connected(7, "ours", VIF)
    connect(store, 8, "other", VBD)
    assert backends.find(store) == {
        Found(7, "ours", "vif"),
        Found(7, "ours", "home"),
        Found(8, "other", "vbd"),
        Found(8, "other", "home"),
    }


def test_a_domain_of_ours_is_found_without_a_back_end() -> None:
    store = MemoryStore()
    store.nodes[f"{HOME}/{OWNER}"] = "ours"
    assert backends.find(store) == {Found(7, "ours", "home")}


def test_two_domains_of_one_domid_are_both_found() -> None:
    store = connected(7, "ours", VIF)
    store.nodes[f"{BACKENDS}/vif/7/1/{OWNER}"] = "gone"
    assert {found.uuid for found in backends.find(store)} == {"ours", "gone"}


def test_what_is_not_ours_is_not_found() -> None:
    store = MemoryStore()
    store.nodes = {
        f"{BACKENDS}/vif/7/0/state": "4",
        f"{HOME}/name": "theirs",
        f"{BACKENDS}/vif/x/0/{OWNER}": "rubbish",
    }
    assert backends.find(store) == set()
