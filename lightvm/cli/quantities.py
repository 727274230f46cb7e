"""Sizes and durations as people write them; each parser raises ValueError with the reason."""

from __future__ import annotations

import os
import re

_KIB = {"K": 1, "M": 1024, "G": 1024 * 1024, None: 1024}


def parse_size(text: str) -> int:
    """Return a size in KiB: ``512K``, ``4M``, ``4MiB``, ``1G``; a plain number is MiB, as in xl."""
    match = re.fullmatch(r"([0-9]{1,9})(?:([KMG])(?:I?B)?)?", text.strip().upper())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a size such as 4M, 512K or 1G")
    return int(match[1]) * _KIB[match[2]]


def parse_count(text: str) -> int:
    """Return a whole number of at least 1."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise ValueError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def parse_offset(text: str) -> int:
    """Return a whole number of at least 0."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ValueError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def parse_net(text: str) -> dict[str, str]:
    """Return a network device as ``--net`` has it: ``NETWORK[,mac=MAC][,ip=ADDRESS]``."""
    network, *options = text.split(",")
    net = {"network": network}
    for option in options:
        key, _, value = option.partition("=")
        field = {"mac": "mac", "ip": "ipv4"}.get(key)
        if field is None or not value or field in net:
            raise ValueError(f"{option!r} is neither mac=MAC nor ip=ADDRESS, or is there twice")
        net[field] = value
    if not network:
        raise ValueError(f"{text!r} does not begin with the name of a network")
    return net


def parse_disk(text: str) -> dict[str, object]:
    """Return a disk as ``--disk`` has it: a path, with ``,ro`` after it where it is only to be read."""
    path, comma, mode = text.rpartition(",")
    if comma and mode in ("ro", "rw"):
        disk = {"path": os.path.abspath(path), "readonly": mode == "ro"}
    else:
        path, disk = text, {"path": os.path.abspath(text)}
    if not path:
        raise ValueError(f"{text!r} names no file")
    return disk


def parse_seconds(text: str) -> int:
    """Return milliseconds for a positive number of seconds, such as ``5`` or ``0.25``."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or float(text) == 0:
        raise ValueError(f"{text!r} is not a positive number of seconds")
    return max(1, round(float(text) * 1000))
