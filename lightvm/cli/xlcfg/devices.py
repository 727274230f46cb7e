"""One entry of ``vif`` (xl-network-configuration(5)) or ``disk`` (xl-disk-configuration(5))."""

from __future__ import annotations

import os

from lightvm.cli.xlcfg.refusal import Refusal

DEFAULT_BRIDGE = "xenbr0"
"""xl's (xl.conf(5)), where an entry names none."""

_NET_DEFAULTS = {
    "type": "vif",
    "backend": "0",
    "script": "vif-bridge",
    "trusted": "1",
}
_POSITIONS = ("target", "format", "vdev", "access")
_PREFIXES = ("file:", "phy:", "raw:")
_DISK_FLAGS = {"direct-io-safe", "discard", "trusted"}
"""What is so anyway."""
_WRITABLE, _READONLY = {"w", "rw"}, {"r", "ro"}


def parse_vif(entry: str) -> dict[str, object]:
    """Return the network that an entry asks for, by its bridge; raises `Refusal`."""
    request: dict[str, object] = {"network": DEFAULT_BRIDGE}
    for part in filter(None, (part.strip() for part in entry.split(","))):
        key, sign, text = part.partition("=")
        if not sign:
            raise Refusal(f"{part!r} is not KEY=VALUE")
        match key:
            case "bridge":
                request["network"] = text
            case "mac":
                request["mac"] = text
            case "ip":
                request["ipv4"] = text
            case _ if _NET_DEFAULTS.get(key) == text or (key, text) == ("backend", "Domain-0"):
                pass
            case _:
                raise Refusal(f"{part!r} is not supported")
    return request


def parse_disk(entry: str, index: int) -> dict[str, object]:
    """Return the disk that an entry asks for; raises `Refusal`."""
    found: dict[str, str] = {}
    rest = entry.strip()
    if rest.startswith(_PREFIXES):
        rest = rest.partition(":")[2]
        found["format"] = "raw"  # such an entry has no place for it
    while rest:
        if rest.startswith("target="):  # the last one: it may have commas in it
            part, rest = rest, ""
        else:
            part, _, rest = rest.partition(",")
            rest = rest.lstrip()
        key, sign, text = part.partition("=")
        if not sign:
            if part in _DISK_FLAGS:
                continue
            if part in ("cdrom", "no-discard", "untrusted") or not (free := _free(found)):
                raise Refusal(f"{part!r} is not supported" if part else "it has too many parts")
            key, text = free, part
        if key in found:
            raise Refusal(f"{key} is given twice")
        found[key] = text
    return _make_disk(found, index)


def _free(found: dict[str, str]) -> str | None:
    return next((key for key in _POSITIONS if key not in found), None)


def _make_disk(found: dict[str, str], index: int) -> dict[str, object]:
    target = found.pop("target", "")
    if not target:
        raise Refusal("it has no target")
    vdev, expected = found.pop("vdev", ""), f"xvd{chr(ord('a') + index)}"
    if vdev != expected:
        raise Refusal(f"its vdev is {vdev!r}; disks are xvda, xvdb and so on here, in this order")
    if (kind := found.pop("format", "")) not in ("", "raw"):
        raise Refusal(f"its format is {kind!r}; only raw is supported")
    access = found.pop("access", "rw")
    if access not in _WRITABLE | _READONLY:
        raise Refusal(f"its access is {access!r}, which is none of r, ro, w and rw")
    for key, default in (("devtype", "disk"), ("backendtype", "phy"), ("backend", "0")):
        if (text := found.pop(key, default)) != default:
            raise Refusal(f"{key}={text} is not supported")
    if found:
        raise Refusal(f"{next(iter(found))!r} is not supported")
    return {"path": os.path.abspath(target), "readonly": access in _READONLY}
