"""Network namespaces for tests against the kernel itself: for root, and where the kernel lets us."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from lightvm.daemon.net.nftables import Nftables
from lightvm.errors import LinkFailed

T = TypeVar("T")

CLONE_NEWNS, CLONE_NEWNET = 0x0002_0000, 0x4000_0000
MS_REC, MS_PRIVATE = 0x4000, 0x4_0000


class Namespace:
    """A thread that is alone in a network namespace; it goes with the thread."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self.tid = self.run(_enter)
        """By which a device can be moved there."""

    def run(self, function: Callable[..., T], *args: object) -> T:
        """Call a function there."""
        return self._executor.submit(function, *args).result()


def _enter() -> int:
    """Move this thread alone into namespaces of its own, with a /sys that shows the devices there."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = (
        lambda: libc.unshare(CLONE_NEWNET | CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        lambda: libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None),
    )
    for step in steps:
        if step():
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return threading.get_native_id()


@contextmanager
def open_namespace() -> Iterator[Namespace]:
    """Open a namespace for the length of a block; raises `OSError`."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield Namespace(executor)


def why_no_namespace() -> str:
    """Return why there can be no namespace here, or nothing."""
    if os.geteuid():
        return "not root"
    try:
        with open_namespace():
            return ""
    except OSError as exc:
        return f"no network namespace: {exc}"


def why_no_nftables(needed: str = "") -> str:
    """Return why nftables cannot be used here, or nothing; `needed` is a rule that the kernel must know."""
    if reason := why_no_namespace():
        return reason
    try:
        with open_namespace() as namespace:
            namespace.run(_try_nftables, needed)
    except LinkFailed as exc:
        return str(exc)
    return ""


def _try_nftables(needed: str) -> None:
    library = Nftables()
    try:
        for family in ("inet", "bridge"):
            library.run(f"add table {family} lightvm")
        if needed:
            library.run("add chain bridge lightvm tried")
            library.run(f"add rule bridge lightvm tried {needed}")
    finally:
        library.close()
