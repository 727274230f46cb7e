"""Pictures of a host at every moment at which its daemon could be killed.

A picture has all that outlives the daemon: the journal's file, the domains, XenStore. It is taken before and after each
step of the hypervisor and of the store, and before, in the middle of and after each write to the journal.
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

from lightvm.daemon.journal import Journal, Record
from lightvm.testing import FakeHypervisor, MemoryStore
from lightvm.xen.fake import FakeDomain
from tests.journals import written

STEPS = ("prepare", "adopt", "load", "unpause", "pause", "close_window", "release", "destroy")


@dataclass(frozen=True)
class Picture:
    """A host at one moment."""

    moment: str
    journal: bytes
    domains: dict[int, FakeDomain]
    next_domid: int
    nodes: dict[str, str]

    def restore(self, directory: Path) -> tuple[FakeHypervisor, MemoryStore]:
        """Make a host like this, without a daemon; the journal goes below the directory."""
        (directory / "state").mkdir(parents=True, exist_ok=True)
        (directory / "state" / "journal").write_bytes(self.journal)
        hypervisor, store = FakeHypervisor(), MemoryStore()
        hypervisor.domains = copy_domains(self.domains)
        hypervisor._next_domid = self.next_domid
        store.nodes = dict(self.nodes)
        return hypervisor, store


def copy_domains(domains: dict[int, FakeDomain]) -> dict[int, FakeDomain]:
    """Return domains as they are when whoever held them is gone."""
    return {
        domid: dataclasses.replace(domain, console=bytearray(domain.console), handle=None)
        for domid, domain in domains.items()
    }


class Camera:
    """Takes pictures of one host; of moments that look the same, one."""

    def __init__(self, directory: Path, hypervisor: FakeHypervisor, store: MemoryStore) -> None:
        self._journal = directory / "state" / "journal"
        self._hypervisor = hypervisor
        self._store = store
        self.pictures: list[Picture] = []

    def shoot(self, moment: str, torn: bytes = b"") -> None:
        """Take a picture, with some more bytes at the end of the journal."""
        picture = Picture(
            moment,
            written(self._journal) + torn if self._journal.exists() else torn,
            copy_domains(self._hypervisor.domains),
            self._hypervisor._next_domid,
            dict(self._store.nodes),
        )
        last = self.pictures[-1] if self.pictures else None
        if last is None or dataclasses.replace(picture, moment=last.moment) != last:
            self.pictures.append(picture)

    @contextmanager
    def film(self) -> Iterator[None]:
        """Take pictures of all that happens in the block."""
        with pytest.MonkeyPatch.context() as patch:
            for step in STEPS:
                patch.setattr(
                    self._hypervisor, step, self._filmed(step, getattr(self._hypervisor, step))
                )
            for step in ("write", "remove"):
                patch.setattr(
                    self._store, step, self._filmed(f"store {step}", getattr(self._store, step))
                )
            patch.setattr(Journal, "append", self._filmed_append(Journal.append))
            yield
        self.shoot("end")

    def _filmed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def slow(*args: Any) -> Any:
                self.shoot(f"before {step}")
                call: Awaitable[Any] = function(*args)
                try:
                    return await call
                finally:
                    self.shoot(f"after {step}")

            return slow

        @functools.wraps(function)
        def fast(*args: Any, **named: Any) -> Any:
            self.shoot(f"before {step}")
            try:
                return function(*args, **named)
            finally:
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
