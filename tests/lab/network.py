"""A network for guests of the tests."""

from __future__ import annotations

from pathlib import Path

from lightvm.model import Created, NetRequest
from tests.lab.daemon import Counted, nodes

BRIDGE, HOST = "lvtest0", "10.78.0.1"
NETWORK = f"""
[networks.default]
bridge = "{BRIDGE}"
address = "{HOST}/24"
[flavors.net]
networks = ["default"]
low = 4
high = 4
"""
NET = [NetRequest(network="default")]


def ports() -> set[str]:
    """Return the ports of the bridge."""
    return {path.name for path in Path(f"/sys/class/net/{BRIDGE}/brif").glob("vif*")}


HELD: tuple[Counted, ...] = (ports, lambda: nodes("vif"))
"""What a shell with a vif has one of."""


def address(created: Created) -> str:
    """Return the address of a domain's vif."""
    (vif,) = created.domain.vifs
    assert vif.ipv4 is not None
    return vif.ipv4.partition("/")[0]


FIREWALLED = """
[networks.inner]
bridge = "lvtest1"
address = "10.80.0.1/24"
gateway = "10.80.0.254"
"""
"""A network behind a firewall, whose inner address is the gateway."""
