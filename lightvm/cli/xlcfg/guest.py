"""From a configuration of xl's to what a request says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from lightvm.cli.xlcfg.devices import parse_disk, parse_vif
from lightvm.cli.xlcfg.keys import HONOURED, ONLY, REFUSED
from lightvm.cli.xlcfg.refusal import Refusal
from lightvm.cli.xlcfg.syntax import Setting, Value, parse_xl
from lightvm.errors import BadRequest

T = TypeVar("T")

OVERRIDES = "the command line"

POLICIES = ("destroy", "restart", "preserve")


def read_xl(text: str, where: str, overrides: Sequence[str] = ()) -> dict[str, object]:
    """Return the values of a request; raises `BadRequest` with file, line and key.

    Overrides are assignments too, and count more than the file's. Paths are relative to the working directory, as with
    xl.
    """
    guest = _Guest(where)
    guest.add(where, parse_xl(text, where))
    for override in overrides:
        guest.add(OVERRIDES, parse_xl(override, OVERRIDES))
    guest.check_keys()
    guest.check_type()
    values: dict[str, object] = {
        "name": guest.needed("name"),
        "image": os.path.abspath(guest.needed("kernel")),
        "cmdline": guest.cmdline(),
        "nets": guest.each("vif", lambda entry, index: parse_vif(entry)),
        "disks": guest.each("disk", parse_disk),
    }
    if (ramdisk := guest.text("ramdisk")) is not None:
        values["modules"] = [os.path.abspath(ramdisk)]
    if (memory := guest.number("memory", "maxmem")) is not None:
        values["memory_kib"] = memory * 1024
    if (vcpus := guest.number("vcpus", "maxvcpus")) is not None:
        values["vcpus"] = vcpus
    if (cpus := guest.cpus()) is not None:
        values["cpus"] = cpus
    for key, field in (("cpu_weight", "cpu_weight"), ("cap", "cpu_cap")):
        if (number := guest.text(key)) is not None:
            values[field] = guest.asking(key, _number, number)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        if (policy := guest.text(event)) is not None:
            values[event] = guest.asking(event, _policy, policy)
    return values


class _Guest:
    """Settings, each with the file it is from."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._settings: dict[str, tuple[str, Setting]] = {}

    def add(self, where: str, settings: dict[str, Setting]) -> None:
        self._settings.update({key: (where, setting) for key, setting in settings.items()})

    def asking(self, key: str, function: Callable[..., T], *args: object) -> T:
        """Call a function about the value of a key; what it refuses is told with its place."""
        try:
            return function(*args)
        except Refusal as exc:
            where, setting = self._settings[key]
            raise BadRequest(str(exc), f"{where}:{setting.line}: {key}") from None

    def check_keys(self) -> None:
        """Refuse what cannot be honoured."""
        for key, (_, setting) in self._settings.items():
            self.asking(key, _check_key, key, setting.value)

    def check_type(self) -> None:
        """Refuse all but PVH guests; xl's default is PV."""
        for key in ("type", "builder"):
            if (kind := self.text(key)) is not None:
                self.asking(key, _check_type, kind)
                return
        raise BadRequest("xl takes this for a PV guest; only type='pvh' is supported", self._where)

    def text(self, key: str) -> str | None:
        """Return a string."""
        if key not in self._settings:
            return None
        return self.asking(key, _text, self._settings[key][1].value)

    def needed(self, key: str) -> str:
        """Return a string that must be there."""
        if not (text := self.text(key)):
            raise BadRequest(f"there is no {key}", self._where)
        return text

    def number(self, key: str, most: str) -> int | None:
        """Return a number that must be as large as another one, where that is given: guests do not grow."""
        numbers = {
            name: self.asking(name, _number, text)
            for name in (key, most)
            if (text := self.text(name)) is not None
        }
        if len(set(numbers.values())) > 1:
            self.asking(most, _refuse, f"a guest does not grow: this must be as large as {key}")
        return numbers.get(key, numbers.get(most))

    def cpus(self) -> list[str] | None:
        """Return the processors of all vCPUs, or of each."""
        if "cpus" not in self._settings:
            return None
        value = self._settings["cpus"][1].value
        return self.asking("cpus", _cpus, value if isinstance(value, list) else [value])

    def cmdline(self) -> str | None:
        """Return the kernel's command line: as it is given, or made of `root` and `extra`."""
        if (cmdline := self.text("cmdline")) is not None:
            for key in ("root", "extra"):
                if key in self._settings:
                    self.asking(key, _refuse, "`cmdline` is given, which takes its place")
            return cmdline
        root, extra = self.text("root"), self.text("extra")
        parts = [root and f"root={root}", extra]
        return " ".join(filter(None, parts)) or None

    def each(self, key: str, parse: Callable[[str, int], dict[str, object]]) -> list[object]:
        """Return what the entries of a list mean."""
        if key not in self._settings:
            return []
        entries = self.asking(key, _strings, self._settings[key][1].value)
        return [self.asking(key, parse, entry, index) for index, entry in enumerate(entries)]


def _check_key(key: str, value: Value) -> None:
    if key in HONOURED:
        return
    if key in ONLY:
        if value not in ONLY[key]:
            allowed = " or ".join(map(repr, ONLY[key]))
            raise Refusal(f"only {allowed} is supported")
        return
    raise Refusal(REFUSED.get(key, "xl.cfg(5) has no such key"))


def _check_type(kind: str) -> None:
    if kind != "pvh":
        raise Refusal(f"{kind!r} is not supported, only 'pvh' is")


def _text(value: Value) -> str:
    if isinstance(value, list):
        raise Refusal("this is to be a string, not a list")
    return value


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Refusal(f"{text!r} is not a number") from None


def _policy(text: str) -> str:
    if text not in POLICIES:
        raise Refusal(f"{text!r} is not supported, only {', '.join(POLICIES)} are")
    return text


def _cpus(entries: list[Value]) -> list[str]:
    texts = [_text(entry) for entry in entries]
    if any("node" in text for text in texts):
        raise Refusal("nodes are not supported, only numbers of processors are")
    return texts


def _refuse(reason: str) -> None:
    raise Refusal(reason)


def _strings(value: Value) -> list[str]:
    if isinstance(value, str):
        raise Refusal("this is to be a list")
    return [_text(entry) for entry in value]
