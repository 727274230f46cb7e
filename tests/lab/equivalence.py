"""What there is of a guest, for a comparison of toolstacks: nodes of XenStore, and what Xen and xl say."""

from __future__ import annotations

import subprocess

Nodes = dict[str, tuple[str, str]]
"""Value and permissions by path."""

OURS_ALONE = {
    "lightvm-uuid",
    # what libxl has of a disk in its back-end's directory only
    "hotplug-status",
    "node",
    "physical-device",
    "physical-device-path",
}
"""Ends of the paths that libxl has none of."""

OTHER_VALUES = {
    # who serves the console, and what of it is not known before there is a reader
    "console/type",
    "console/tty",
    # where in the guest's memory the shared pages are, and on which channels
    "console/port",
    "console/ring-ref",
    "store/port",
    "store/ring-ref",
    # back-ends run no scripts
    "script",
    "hotplug-status",
    "params",
    "node",
    "physical-device",
    "physical-device-path",
    # when it was made
    "start_time",
}


def said(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def nodes_of(domid: int, uuid: str) -> Nodes:
    """Return all nodes of a domain, without what differs between domains made the same."""
    nodes = {}
    for path in (
        f"/local/domain/{domid}",
        f"/vm/{uuid}",
        f"/libxl/{domid}",
        *(f"/local/domain/0/backend/{kind}/{domid}" for kind in ("vif", "vbd", "console")),
    ):
        done = subprocess.run(
            ["xenstore-ls", "-fp", path], capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            line = line.replace(uuid, "UUID").replace(f"(n{domid}", "(nDOMID")
            line = line.replace(f"r{domid})", "rDOMID)").replace(f"/{domid}/", "/DOMID/")
            place, _, rest = line.partition(" = ")
            place = place + "/" if place.endswith(f"/{domid}") else place
            value, _, rights = rest.rpartition("   ")
            value = "DOMID" if value == f'"{domid}"' else value
            nodes[place.replace(f"/{domid}/", "/DOMID/")] = (value, rights)
    return nodes


def settled(domid: int) -> bool:
    """Whether the back-ends wait for the guest, whose name has been told."""
    home = "/local/domain/0/backend"
    devices = [
        f"{home}/{kind}/{domid}/{device}"
        for kind in ("vif", "vbd")
        for device in said_or_nothing("xenstore-list", f"{home}/{kind}/{domid}").split()
    ]
    states = {said_or_nothing("xenstore-read", f"{device}/state").strip() for device in devices}
    name = ["xenstore-exists", f"/local/domain/{domid}/name"]
    return states <= {"2"} and subprocess.run(name, check=False).returncode == 0


def said_or_nothing(*command: str) -> str:
    """Return what a command prints, if it fails too."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def compare(theirs: Nodes, ours: Nodes) -> None:
    """Fail where our nodes are not libxl's."""
    assert theirs.keys() - ours.keys() == set()
    assert {place for place in ours.keys() - theirs.keys() if not _ends(place, OURS_ALONE)} == set()
    for place, (value, rights) in theirs.items():
        assert ours[place][1] == rights, place
        if not _ends(place, OTHER_VALUES):
            assert ours[place][0] == value, place


def _ends(place: str, known: set[str]) -> bool:
    return any(place.endswith(f"/{end}") for end in known)


def described(name: str) -> dict[str, object]:
    """Return what xl says of a domain: memory and vCPUs, their processors, weight and cap."""
    listed = said("xl", "list", name).splitlines()[1].split()
    vcpus = [line.split() for line in said("xl", "vcpu-list", name).splitlines()[1:]]
    scheduling = said("xl", "sched-credit2", "-d", name).splitlines()[-1].split()
    return {
        "memory_mib": int(listed[2]),
        "vcpus": int(listed[3]),
        "processors": [(vcpu[2], " ".join(vcpu[6:])) for vcpu in vcpus],
        "weight and cap": scheduling[2:],
    }
