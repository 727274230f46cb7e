"""What ``lightvm create`` asks for: from a configuration file, the command line, or both."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

import lightvm
from lightvm.cli.chaos import read_chaos
from lightvm.cli.quantities import parse_size
from lightvm.cli.xlcfg.guest import read_xl
from lightvm.errors import BadRequest
from lightvm.model import CreateRequest

GUESTS = os.path.join(os.path.dirname(lightvm.__file__), "guests")


class Source(NamedTuple):
    """A configuration file, or a kernel file that stands for one with an image and nothing else."""

    values: dict[str, object]
    where: str | None


def find_image(name: str) -> str:
    """Return the path of a kernel file.

    A name without a slash that is no file here is one of the guests that come with the package, where there is such.
    """
    packaged = os.path.join(GUESTS, name)
    if "/" not in name and not os.path.exists(name) and os.path.exists(packaged):
        return packaged
    return os.path.abspath(name)


def read_source(path: str, overrides: Sequence[str] = ()) -> Source:
    """Read a configuration, or take the file for a kernel.

    It is ours where `path` ends in ``.toml``, xl's where in ``.cfg``, that of the system of 2017 where in ``.json``.
    Overrides are further assignments of xl's. Paths in a TOML file are relative to the folder that holds it. Raises
    `BadRequest`.
    """
    if path.endswith(".cfg"):
        return Source(values=read_xl(_read_text(path), path, overrides), where=path)
    if overrides:
        raise BadRequest("KEY=VALUE goes with a .cfg file only", overrides[0])
    if path.endswith(".json"):
        return Source(values=read_chaos(_read_text(path), path), where=path)
    if not path.endswith(".toml"):
        return Source(values={"image": find_image(path)}, where=None)
    try:
        values: dict[str, object] = tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"not TOML: {exc}", path) from exc
    if "memory" in values:
        values = _with_memory(values, path)
    if isinstance(metadata := values.get("metadata"), str):
        values["metadata"] = metadata.encode()
    folder = os.path.dirname(os.path.abspath(path))
    if isinstance(image := values.get("image"), str):
        values["image"] = os.path.normpath(os.path.join(folder, image))
    if isinstance(modules := values.get("modules"), list):
        values["modules"] = [
            os.path.normpath(os.path.join(folder, m)) if isinstance(m, str) else m for m in modules
        ]
    if isinstance(disks := values.get("disks"), list):
        values["disks"] = [_with_path(disk, folder) for disk in disks]
    return Source(values=values, where=path)


def _read_text(path: str) -> str:
    try:
        return _read(path).decode()
    except UnicodeDecodeError as exc:
        raise BadRequest(f"the configuration is not text: {exc}", path) from exc


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise BadRequest(f"cannot read the configuration: {exc.strerror}", path) from exc


def build_request(source: Source, options: dict[str, object]) -> CreateRequest:
    """Return the request of a source; an option that is not None takes the place of its key.

    Raises `BadRequest` for an unknown or missing key and for a value of the wrong type.
    """
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return msgspec.convert(source.values | given, CreateRequest)
    except msgspec.ValidationError as exc:
        message, _, key = str(exc).partition(" - at ")
        place = [source.where, key.strip("`").removeprefix("$.")]
        raise BadRequest(message, ": ".join(filter(None, place)) or None) from exc


def read_metadata(path: str) -> bytes:
    """Return the content of a file, or of standard input for ``-``; raises `BadRequest`."""
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise BadRequest(f"cannot read the metadata: {exc.strerror}", path) from exc


def read_text(path: str) -> str:
    """Return what `read_metadata` returns, as text; raises `BadRequest`."""
    try:
        return read_metadata(path).decode()
    except UnicodeDecodeError as exc:
        raise BadRequest(f"the metadata is not text: {exc}", path) from exc


def numbered(request: CreateRequest, count: int) -> tuple[CreateRequest, ...]:
    """Return `count` requests that differ by the number, from 1 on, after name and token."""
    return tuple(
        msgspec.structs.replace(
            request,
            name=None if request.name is None else f"{request.name}-{number}",
            token=None if request.token is None else f"{request.token}-{number}",
        )
        for number in range(1, count + 1)
    )


def _with_path(disk: object, folder: str) -> object:
    """Return a disk with an absolute path; it may be given as nothing but its path."""
    if isinstance(disk, str):
        disk = {"path": disk}
    if isinstance(disk, dict) and isinstance(path := disk.get("path"), str):
        return disk | {"path": os.path.normpath(os.path.join(folder, path))}
    return disk


def _with_memory(values: dict[str, object], path: str) -> dict[str, object]:
    """Put `memory_kib` in the place of `memory`, which is MiB or a size with a unit."""
    values = dict(values)
    memory = values.pop("memory")
    if "memory_kib" in values:
        raise BadRequest("memory and memory_kib exclude each other", path)
    if isinstance(memory, bool) or not isinstance(memory, int | str):
        raise BadRequest("memory is neither a number of MiB nor a size", f"{path}: memory")
    try:
        return values | {"memory_kib": parse_size(str(memory))}
    except ValueError as exc:
        raise BadRequest(str(exc), f"{path}: memory") from exc
