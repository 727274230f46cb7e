"""Pictures of a host at every moment at which its daemon could be killed.

A picture has all that outlives the daemon: the journal's file, the domains, XenStore, ports and loop devices. It is
taken before and after each step of the hypervisor, the store and what is below devices, and before, in the middle of
and after each write to the journal.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lightvm.daemon.config import Config
from lightvm.daemon.disk.loops import FIRST_NUMBER
from lightvm.daemon.journal import Journal, Record
from lightvm.daemon.net.filters import Port
from lightvm.xen.fake_domain import FakeDomain
from tests.host import Host
from tests.journals import written

STEPS = {
    "hypervisor": [
        "prepare",
        "adopt",
        "load",
        "unpause",
        "pause",
        "close_window",
        "release",
        "destroy",
    ],
    "store": ["write", "write_all", "introduce", "release", "remove"],
    "ports": ["add_port"],
    "filters": ["add", "bind", "forget", "rebuild"],
    "loops": ["add", "bind", "remove", "sweep"],
}
"""By the part of a host."""


@dataclass(frozen=True)
class Picture:
    """A host at one moment."""

    moment: str
    journal: bytes
    domains: dict[int, FakeDomain]
    next_domid: int
    nodes: dict[str, str]
    ports: dict[str, str]
    loops: dict[int, str | None]
    filtered: dict[str, Port]

    def restore(self, directory: Path, config: Config) -> Host:
        """Make a host like this, without a daemon; the journal goes below the directory.

        Its loop devices keep nothing open.
        """
        host = Host(directory, config)
        host.path.parent.mkdir(parents=True, exist_ok=True)
        host.path.write_bytes(self.journal)
        host.hypervisor.domains = copy_domains(self.domains)
        host.hypervisor._next_domid = self.next_domid
        host.store.nodes = dict(self.nodes)
        host.ports._added = dict(self.ports)
        host.loops._bound = dict(self.loops)
        host.loops._next = max(self.loops, default=FIRST_NUMBER)
        host.filters.ports = dict(self.filtered)
        return host


def copy_domains(domains: dict[int, FakeDomain]) -> dict[int, FakeDomain]:
    """Return domains as they are when whoever held them is gone."""
    return {
        domid: dataclasses.replace(domain, console=bytearray(domain.console), handle=None)
        for domid, domain in domains.items()
    }


class Camera:
    """Takes pictures of one host; of moments that look the same, one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._hidden = False
        """Whether what happens can be seen by nobody, as within a transaction of XenStore."""
        self.pictures: list[Picture] = []

    def shoot(self, moment: str, torn: bytes = b"") -> None:
        """Take a picture, with some more bytes at the end of the journal."""
        if self._hidden:
            return
        host = self._host
        picture = Picture(
            moment,
            written(host.path) + torn if host.path.exists() else torn,
            copy_domains(host.hypervisor.domains),
            host.hypervisor._next_domid,
            dict(host.store.nodes),
            host.ports.ports,
            host.loops.bound,
            dict(host.filters.ports),
        )
        last = self.pictures[-1] if self.pictures else None
        if last is None or dataclasses.replace(picture, moment=last.moment) != last:
            self.pictures.append(picture)

    @contextmanager
    def film(self) -> Iterator[None]:
        """Take pictures of all that happens in the block."""
        with pytest.MonkeyPatch.context() as patch:
            for what, steps in STEPS.items():
                thing = getattr(self._host, what)
                for step in steps:
                    name = step if what == "hypervisor" else f"{what} {step}"
                    patch.setattr(thing, step, self._filmed(name, getattr(thing, step)))
            patch.setattr(Journal, "append", self._filmed_append(Journal.append))
            yield
        self.shoot("end")

    def _filmed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def slow(*args: Any, **named: Any) -> Any:
                self.shoot(f"before {step}")
                call: Awaitable[Any] = function(*args, **named)
                try:
                    return await call
                finally:
                    self.shoot(f"after {step}")

            return slow

        @functools.wraps(function)
        def fast(*args: Any, **named: Any) -> Any:
            self.shoot(f"before {step}")
            hidden, self._hidden = self._hidden, self._hidden or step == "store write_all"
            try:
                return function(*args, **named)
            finally:
                self._hidden = hidden
                self.shoot(f"after {step}")

        return fast

    def _filmed_append(
        self, append: Callable[[Journal, Record], None]
    ) -> Callable[[Journal, Record], None]:
        def filmed(journal: Journal, record: Record) -> None:
            what = type(record).__name__
            line = msgspec.json.encode(record)
            self.shoot(f"before {what}")
            self.shoot(f"in the middle of {what}", line[: len(line) // 2])
            append(journal, record)
            self.shoot(f"after {what}")

        return filmed
