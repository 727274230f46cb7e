"""What must hold of devices whenever a daemon is at rest: nodes, ports, loop devices, open files and addresses."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from lightvm.daemon.disk.vbds import XVDA
from lightvm.daemon.domains import dashed
from lightvm.daemon.net.filters import Port, Source
from lightvm.model import Mode, Vif
from lightvm.testing import InMemory

DISK = "disk-"
"""What names of files begin with that are there to be disks."""


def compare(what: str, there: Collection[object], expected: Collection[object]) -> Iterator[str]:
    """Say where two collections differ."""
    if Counter(list(there)) != Counter(list(expected)):
        yield f"{what}: {sorted(map(str, there))}, expected {sorted(map(str, expected))}"


def device_leftovers(lvm: InMemory, foreign: Collection[int]) -> Iterator[str]:
    """Say what of devices does not agree."""
    live = [domain.record for domain in lvm.service.registry.live.values()]
    shells = list(lvm.service.pools.shells())
    networks = {
        f"vif{record.domid}.{index}": vif.network
        for record in live
        for index, vif in enumerate(record.vifs)
    } | {
        f"vif{shell.handle.domid}.{index}": network
        for shell in shells
        for index, network in enumerate(shell.networks)
    }
    disks = {
        f"vbd{record.domid}.{XVDA + 16 * index}": vbd.path
        for record in live
        for index, vbd in enumerate(record.vbds)
    } | {
        f"vbd{shell.handle.domid}.{XVDA + 16 * index}": None
        for shell in shells
        for index in range(len(shell.loops))
    }
    yield from _store(lvm, networks.keys() | disks.keys(), foreign)
    bridges = {vif: lvm.service.config.networks[name].bridge for vif, name in networks.items()}
    yield from compare("ports", lvm.ports.ports.items(), bridges.items())
    yield from compare("ports of nftables", lvm.filters.ports.items(), _filtered(lvm).items())
    yield from compare("loop devices", lvm.loops.bound.values(), disks.values())
    held = [path for number, path in lvm.loops.bound.items() if number in lvm.loops._files]
    yield from compare("open files of disks", list(_open_disks(lvm.images)), held)
    yield from _addresses(lvm)


def _filtered(lvm: InMemory) -> dict[str, Port]:
    """Return what nftables is to know of each port."""
    ports: dict[str, Port] = {}
    networks = lvm.service.config.networks
    for shell in lvm.service.pools.shells():
        for index, name in enumerate(shell.networks):
            source = _source(shell.vifs[index]) if shell.vifs else None
            port = Port(networks[name].bridge, networks[name].antispoof, source)
            ports[f"vif{shell.handle.domid}.{index}"] = port
    for domain in lvm.service.registry.live.values():
        for index, vif in enumerate(domain.record.vifs):
            port = Port(networks[vif.network].bridge, networks[vif.network].antispoof, _source(vif))
            ports[f"vif{domain.record.domid}.{index}"] = port
    return ports


def _source(vif: Vif) -> Source | None:
    return None if vif.ipv4 is None else Source(vif.mac, vif.ipv4.partition("/")[0])


def _store(lvm: InMemory, devices: Collection[str], foreign: Collection[int]) -> Iterator[str]:
    states: dict[str, str] = {}
    back, front, toolstack, machines = set(), set(), set(), set()
    for path, value in lvm.store.nodes.items():
        if path.startswith("/vm/"):
            machines.add(path.split("/")[2])
            continue
        if path.startswith("/libxl/"):
            toolstack.add(path.split("/")[2])
            continue
        domid, *below = path.split("/")[3:]
        if below[:1] == ["backend"]:
            kind, owner, index, *node = below[1:]
            if kind == "console":
                continue
            back.add(f"{kind}{owner}.{index}")
            if node == ["state"]:
                states[f"{kind}{owner}.{index}"] = value
        elif int(domid) not in foreign and below != ["name"]:
            front.add(domid)
    domids = {device[3:].partition(".")[0] for device in devices}
    unmodified = [
        domain.record
        for domain in lvm.service.registry.live.values()
        if domain.record.mode is Mode.XENSTORE
    ]
    ours = {str(record.domid) for record in unmodified}
    waiting = {device: "2" if device[3:].partition(".")[0] in ours else "4" for device in devices}
    yield from compare("back-ends in XenStore", back, devices)
    yield from compare("directories of domains in XenStore", front, domids | ours)
    yield from compare("states of back-ends", states.items(), waiting.items())
    yield from compare("what toolstacks look for", toolstack, ours)
    yield from compare("machines", machines, {dashed(record.uuid) for record in unmodified})


def _open_disks(directory: Path) -> Iterator[str]:
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            path = fd.readlink()
            if path.parent == directory and path.name.startswith(DISK):
                yield str(path)


def _addresses(lvm: InMemory) -> Iterator[str]:
    networks = lvm.service.creator._devices.networks
    vifs = [vif for d in lvm.service.registry.live.values() for vif in d.record.vifs]
    vifs += [
        lease.vif
        for shell in lvm.service.pools.shells()
        for lease in shell.leases
        if networks[lease.vif.network].ahead.get(lease.vif.mac) is lease
    ]
    macs = [bytes(mac).hex(":") for mac in networks._macs.taken]
    yield from compare("MAC addresses", macs, [vif.mac for vif in vifs])
    for network in networks:
        if network.pool is not None:
            taken = [network.describe(b"", int(address)).ipv4 for address in network.pool.taken]
            expected = [vif.ipv4 for vif in vifs if vif.network == network.name]
            yield from compare(f"addresses of {network.name}", taken, expected)
