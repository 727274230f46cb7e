"""A XenStore as far as it is needed here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol


class Node(NamedTuple):
    """A node to be written.

    `access` are permissions in the notation of the protocol (``docs/misc/xenstore.txt``): the first names the owner and
    what all others may. Without it, a new node has those of the node above it.
    """

    path: str
    value: str = ""
    access: tuple[str, ...] = ()


class Store(Protocol):
    """A XenStore as far as it is needed here. What is not async is called in a worker thread; raises `OSError`."""

    def write(self, path: str, value: str) -> None:
        """Write a node."""
        ...

    def write_all(self, nodes: Sequence[Node]) -> None:
        """Write nodes, all or none."""
        ...

    def introduce(self, domid: int, gfn: int, port: int) -> None:
        """Let a domain speak with xenstored, over a page of its own and one of its event channels."""
        ...

    def release(self, domid: int) -> None:
        """End that; no error where there is none."""
        ...

    def remove(self, path: str) -> None:
        """Remove a node and all below it; one that is not there is no error."""
        ...

    def read(self, path: str) -> str | None:
        """Return a node's value, or None where there is none."""
        ...

    def wait_for(self, path: str, values: Collection[str | None], seconds: float) -> str | None:
        """Wait until a node has one of some values, and return what it has then, or when the time is over.

        None among them is for its absence.
        """
        ...

    def children(self, path: str) -> Sequence[str]:
        """Return the names below a node."""
        ...

    async def wait_release(self) -> None:
        """Wait until a domain that was introduced may have ended. One task at a time, cancellable at any time."""
        ...
