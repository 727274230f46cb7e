"""What netback is told."""

from __future__ import annotations

from lightvm.daemon.net.links import PORT_MAC
from lightvm.daemon.net.vifs import PLACEHOLDER_MAC, describe_vif, port_name


def test_netback_is_told_rings_and_event_channel_of_the_guest() -> None:
    first, second = describe_vif(0, 3), describe_vif(1, 4)
    assert (first.kind, first.number, second.number) == ("vif", 0, 1)
    assert (first.front["tx-ring-ref"], first.front["rx-ring-ref"]) == ("8", "9")
    assert (second.front["tx-ring-ref"], second.front["rx-ring-ref"]) == ("10", "11")
    assert (first.front["event-channel"], second.front["event-channel"]) == ("3", "4")


def test_netback_copies_what_the_guest_receives() -> None:
    assert describe_vif(0, 3).front["request-rx-copy"] == "1"


def test_a_guest_that_does_not_read_keeps_its_carrier() -> None:
    assert "feature-rx-notify" not in describe_vif(0, 3).front


def test_netback_is_told_of_no_script_and_that_its_device_is_in_a_bridge() -> None:
    back = describe_vif(2, 5).back
    assert (back["handle"], back["script"], back["hotplug-status"]) == (
        "2",
        "/bin/true",
        "connected",
    )


def test_a_port_is_named_as_netback_names_it() -> None:
    assert port_name(17, 2) == "vif17.2"


def test_the_host_s_end_never_gives_a_bridge_its_address() -> None:
    assert PORT_MAC == PLACEHOLDER_MAC == "fe:ff:ff:ff:ff:ff"
