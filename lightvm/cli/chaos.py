"""Configurations of the LightVM system of 2017: the JSON that its ``chaos create`` reads.

Every key is honoured or refused by its name. ``docs/chaos-json.md`` says what becomes of each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lightvm.errors import BadRequest

Count = Annotated[int, Meta(ge=1)]
Text = Annotated[str, Meta(min_length=1)]


class _Object(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the objects: unknown keys are refused, as chaos does."""


class _Vcpus(_Object, frozen=True, kw_only=True):
    count: Count
    cpumap: list[list[int]] | None = None


class _Vif(_Object, frozen=True, kw_only=True):
    bridge: Text
    ip: str | None = None
    mac: str | None = None


class _Vbd(_Object, frozen=True, kw_only=True):
    target: Text
    type: Literal["phy", "file"]
    vdev: str
    access: Literal["r", "w"]


class _Xen(_Object, frozen=True, kw_only=True):
    pvh: bool = True
    dev_method: Literal["xenstore", "noxs"] | None = None


class _Guest(_Object, frozen=True, kw_only=True):
    name: Text
    kernel: str
    memory: Count
    vcpus: Count | _Vcpus
    ramdisk: Text | None = None
    cmdline: str = ""
    address_size: Literal[32, 64] = 64
    paused: bool = False
    vifs: list[_Vif] = []
    vbds: list[_Vbd] = []
    xen: _Xen = _Xen()


def read_chaos(text: str, where: str) -> dict[str, object]:
    """Return the values of a request; raises `BadRequest` with the file and the key.

    Paths are relative to the working directory, as with chaos.
    """
    try:
        guest = msgspec.convert(json.loads(text, object_pairs_hook=_without_twins), _Guest)
    except msgspec.ValidationError as exc:
        message, _, key = str(exc).partition(" - at ")
        raise BadRequest(message, _place(where, key.strip("`").removeprefix("$."))) from exc
    except (ValueError, RecursionError) as exc:
        raise BadRequest(f"not JSON: {exc}", where) from exc
    _check(guest, where)
    vcpus = _Vcpus(count=guest.vcpus) if isinstance(guest.vcpus, int) else guest.vcpus
    values: dict[str, object] = {
        "name": guest.name,
        "image": os.path.abspath(guest.kernel),
        "cmdline": guest.cmdline or None,
        "memory_kib": guest.memory * 1024,
        "vcpus": vcpus.count,
        "cpus": vcpus.cpumap and [",".join(map(str, cpus)) for cpus in vcpus.cpumap],
        "mode": guest.xen.dev_method,
        "paused": guest.paused or None,
        "modules": None if guest.ramdisk is None else [os.path.abspath(guest.ramdisk)],
        "nets": [_without_none(network=v.bridge, ipv4=v.ip, mac=v.mac) for v in guest.vifs],
        "disks": [
            {"path": os.path.abspath(vbd.target), "readonly": vbd.access == "r"}
            for vbd in guest.vbds
        ],
    }
    return _without_none(**values)


def _without_twins(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return an object; a key that is there twice is an error, as with chaos."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is given twice")
        found[key] = value
    return found


def _check(guest: _Guest, where: str) -> None:
    """Refuse what is understood, and cannot be done."""
    if not guest.kernel:
        raise BadRequest(
            "without a kernel chaos restores a guest, which is not supported", f"{where}: kernel"
        )
    if not guest.xen.pvh:
        raise BadRequest("PV guests are not supported, only PVH ones", f"{where}: xen.pvh")
    for index, vbd in enumerate(guest.vbds):
        expected = f"xvd{chr(ord('a') + index)}"
        if vbd.vdev != expected:
            raise BadRequest(
                f"{vbd.vdev!r}; disks are xvda, xvdb and so on here, in this order",
                f"{where}: vbds[{index}].vdev",
            )


def _place(where: str, key: str) -> str:
    return f"{where}: {key}" if key else where


def _without_none(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
