"""Bridges and ports in a kernel, in a network namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from lightvm.daemon.net.links import IFF_UP, Links
from lightvm.errors import LinkFailed
from tests.unit.daemon.net.netns import Namespace, open_namespace, why_no_namespace

needs_root = pytest.mark.skipif(bool(why := why_no_namespace()), reason=why)
ADDRESS = IPv4Interface("10.77.0.1/24")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with open_namespace() as namespace:
        yield namespace


@contextmanager
def open_links() -> Iterator[Links]:
    with closing(Links()) as links:
        yield links


def addresses(index: int) -> dict[str, int]:
    """Return the IPv4 addresses of a device, each with how long it is good for."""
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        return {
            found.get_attr("IFA_LOCAL"): found.get_attr("IFA_CACHEINFO")["ifa_valid"]
            for found in netlink.get_addr(index=index, family=2)
        }


def setting(bridge: str, name: str) -> str:
    return Path(f"/sys/class/net/{bridge}/bridge/{name}").read_text().strip()


@needs_root
def test_a_bridge_is_made_up_with_its_address_and_forwards_at_once(namespace: Namespace) -> None:
    def steps() -> None:
        with open_links() as links:
            for _ in range(2):
                links.ensure_bridge("lvbr0", ADDRESS)
            assert set(addresses(links.index("lvbr0"))) == {"10.77.0.1"}
        assert (setting("lvbr0", "stp_state"), setting("lvbr0", "forward_delay")) == ("0", "0")
        assert int(Path("/sys/class/net/lvbr0/flags").read_text(), 16) & 1

    namespace.run(steps)


@needs_root
def test_a_bridge_that_is_there_keeps_its_settings_and_its_addresses(namespace: Namespace) -> None:
    def steps() -> None:
        from pyroute2 import IPRoute

        with open_links() as links, IPRoute() as netlink:
            netlink.link(
                "add", ifname="xenbr0", kind="bridge", br_stp_state=1, br_forward_delay=400
            )
            index = links.index("xenbr0")
            netlink.addr(
                "add",
                index=index,
                address="10.77.0.1",
                prefixlen=24,
                valid_lft=1000,
                preferred_lft=900,
            )
            netlink.addr("add", index=index, address="10.9.0.1", prefixlen=24)
            links.ensure_bridge("xenbr0", ADDRESS)
            found = addresses(index)
        assert found.keys() == {"10.77.0.1", "10.9.0.1"}
        assert found["10.77.0.1"] <= 1000
        assert setting("xenbr0", "stp_state") == "1"
        assert setting("xenbr0", "forward_delay") == "400"

    namespace.run(steps)


@needs_root
def test_a_bridge_that_was_left_half_made_is_finished(namespace: Namespace) -> None:
    def steps() -> None:
        from pyroute2 import IPRoute

        with open_links() as links, IPRoute() as netlink:
            netlink.link("add", ifname="lvbr0", kind="bridge")
            links.ensure_bridge("lvbr0", ADDRESS)
            assert set(addresses(links.index("lvbr0"))) == {"10.77.0.1"}
        assert int(Path("/sys/class/net/lvbr0/flags").read_text(), 16) & 1

    namespace.run(steps)


@needs_root
def test_what_is_no_bridge_or_not_there_is_told(namespace: Namespace) -> None:
    def steps() -> None:
        with open_links() as links:
            for name, address, message in (
                ("lo", ADDRESS, "not a bridge"),
                ("nowhere", None, "no such bridge"),
            ):
                with pytest.raises(LinkFailed, match=message) as caught:
                    links.ensure_bridge(name, address)
                assert caught.value.where == name
            with pytest.raises(LinkFailed, match="no such network device"):
                links.add_port("lo", "nowhere", 1500)

    namespace.run(steps)


@needs_root
def test_ports_are_counted_and_may_be_hooked(namespace: Namespace) -> None:
    def steps() -> None:
        from pyroute2 import IPRoute

        with open_links() as links, IPRoute() as netlink:
            links.ensure_bridge("lvbr0", ADDRESS)
            assert links.count_ports("lvbr0") == 0
            assert not links.has("vif1.0")
            for domid in (1, 2):
                netlink.link("add", ifname=f"vif{domid}.0", kind="veth", peer=f"end{domid}")
                links.add_port(f"vif{domid}.0", "lvbr0", 1400)
            assert links.count_ports("lvbr0") == 2
            assert links.has("vif1.0")
            assert Path("/sys/class/net/vif1.0/mtu").read_text() == "1400\n"
            links.hook_all("vif1.0")
            with pytest.raises(LinkFailed):
                links.hook_all("lvbr0")
        masks = [Path(f"/sys/class/net/vif{n}.0/brport/group_fwd_mask").read_text() for n in (1, 2)]
        assert masks == ["0xfffd\n", "0x0\n"]

    namespace.run(steps)


@needs_root
@pytest.mark.slow
def test_the_kernel_has_room_for_as_many_ports_as_we_think(namespace: Namespace) -> None:
    def steps() -> None:
        from pyroute2 import IPRoute

        from lightvm.daemon.net.room import MAX_PORTS

        with open_links() as links, IPRoute() as netlink:
            links.ensure_bridge("lvbr0", ADDRESS)
            bridge = links.index("lvbr0")
            for number in range(MAX_PORTS):
                netlink.link(
                    "add", ifname=f"p{number}", kind="veth", peer=f"end{number}", master=bridge
                )
            assert links.count_ports("lvbr0") == MAX_PORTS
            netlink.link("add", ifname="vif1.0", kind="veth", peer="end")
            with pytest.raises(LinkFailed):
                links.add_port("vif1.0", "lvbr0", 1500)

    namespace.run(steps)


def test_forwarding_that_is_on_is_left_alone(tmp_path: Path) -> None:
    knob = tmp_path / "ip_forward"
    knob.write_text("1\n")
    knob.chmod(0o400)
    before = knob.stat().st_mtime_ns
    Links(knob).forward_ipv4()
    assert knob.stat().st_mtime_ns == before


def test_forwarding_that_cannot_be_switched_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(LinkFailed, match="IPv4 forwarding cannot be switched on") as caught:
        Links(tmp_path / "ip_forward").forward_ipv4()
    assert caught.value.where == str(tmp_path / "ip_forward")


@needs_root
def test_a_guarded_port_is_up_when_nothing_passes_nftables_by(namespace: Namespace) -> None:
    flags, mask = (
        Path(f"/sys/class/net/vif1.0/{name}") for name in ("flags", "brport/group_fwd_mask")
    )

    def steps() -> None:
        from pyroute2 import IPRoute

        up_before = []

        class Watched(Links):
            def hook_all(self, name: str) -> None:
                up_before.append(int(flags.read_text(), 16) & IFF_UP)
                super().hook_all(name)

        with closing(Watched()) as links, IPRoute() as netlink:
            links.ensure_bridge("lvbr0", ADDRESS)
            netlink.link("add", ifname="vif1.0", kind="veth", peer="end1")
            links.add_port("vif1.0", "lvbr0", 1400, guarded=True)
            assert up_before == [0]
        assert (int(flags.read_text(), 16) & IFF_UP, mask.read_text()) == (IFF_UP, "0xfffd\n")

    namespace.run(steps)
