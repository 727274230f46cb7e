"""nftables through its own library, libnftables; no program is ever executed."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Sequence

import structlog

from lightvm.daemon.net.filters import (
    Guarded,
    Nat,
    ServiceRange,
    Source,
    describe_added,
    describe_removed,
    describe_tables,
)
from lightvm.errors import LinkFailed

log = structlog.get_logger()

LIBRARY = "libnftables.so.1"
"""Its ABI has been stable since nftables 0.9; Debian's package is libnftables1."""

NFT_CTX_OUTPUT_JSON = 1 << 4
"""``nftables/libnftables.h``"""

SHOWN = 100
"""Characters of a command that an error shows."""


class Nftables:
    """The library. One command at a time."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Open the library; raises `LinkFailed`."""
        try:
            # By its exact name: ctypes.util.find_library would run programs.
            self._lib = lib = ctypes.CDLL(library)
        except OSError as exc:
            raise LinkFailed(
                f"`nat` and `antispoof` need nftables' library (Debian: libnftables1): {exc}",
                library,
            ) from exc
        pointer = ctypes.c_void_p
        lib.nft_ctx_new.argtypes, lib.nft_ctx_new.restype = [ctypes.c_uint32], pointer
        lib.nft_ctx_free.argtypes, lib.nft_ctx_free.restype = [pointer], None
        lib.nft_ctx_output_set_flags.argtypes = [pointer, ctypes.c_uint]
        lib.nft_ctx_output_set_flags.restype = None
        for buffer in (lib.nft_ctx_buffer_output, lib.nft_ctx_buffer_error):
            buffer.argtypes = [pointer]
        for text in (lib.nft_ctx_get_output_buffer, lib.nft_ctx_get_error_buffer):
            text.argtypes, text.restype = [pointer], ctypes.c_char_p
        lib.nft_run_cmd_from_buffer.argtypes = [pointer, ctypes.c_char_p]
        self._context: int | None = lib.nft_ctx_new(0)
        if self._context is None:
            raise LinkFailed("nftables cannot be used", library)
        if lib.nft_ctx_buffer_output(self._context) or lib.nft_ctx_buffer_error(self._context):
            self.close()
            raise LinkFailed("no memory for the answers of nftables", library)

    def close(self) -> None:
        """Close the library's socket and free its memory."""
        context, self._context = self._context, None
        if context is not None:
            self._lib.nft_ctx_free(context)

    def run(self, commands: str, *, json: bool = False) -> str:
        """Run commands in one transaction, and return what they print; raises `LinkFailed`, with nothing changed."""
        lib, context = self._lib, self._context
        lib.nft_ctx_output_set_flags(context, NFT_CTX_OUTPUT_JSON if json else 0)
        failed = lib.nft_run_cmd_from_buffer(context, commands.encode())
        # Both, always: reading a buffer is what empties it.
        output: bytes = lib.nft_ctx_get_output_buffer(context)
        errors: bytes = lib.nft_ctx_get_error_buffer(context)
        if failed:
            raise _failure(errors.decode(errors="replace"))
        return output.decode()


def _failure(text: str) -> LinkFailed:
    """Return the first error of a text: its message, the command on the next line, and a line that underlines."""
    message, _, rest = text.partition("\n")
    # "Error: …", or with the place of a syntax error: "<cmdline>:1:5-9: Error: …"
    message = message.rpartition("Error: ")[2] or "nftables failed and does not say why"
    command = rest.partition("\n")[0].strip()
    return LinkFailed(message, f"nftables: {command[:SHOWN]}" if command else "nftables")


class NftFilters:
    """`Filters` in the kernel.

    What there should be is known here too. So a change that fails since somebody has removed our tables, such as
    ``nft flush ruleset`` of a firewall's restart, makes them anew.
    """

    def __init__(self, open_library: Callable[[], Nftables] = Nftables) -> None:
        self._open = open_library
        self._library: Nftables | None = None
        self._lock = threading.Lock()
        self._nats: tuple[Nat, ...] = ()
        self._guarded: dict[str, Source | None] | None = None
        self._services: tuple[ServiceRange, ...] = ()

    def _run(self, commands: str) -> str:
        if self._library is None:
            self._library = self._open()
        return self._library.run(commands)

    def close(self) -> None:
        """Close the library. The tables stay."""
        with self._lock:
            library, self._library = self._library, None
            if library is not None:
                library.close()

    def rebuild(self, nats: Sequence[Nat], guarded: Guarded | None) -> None:
        """Make both tables anew at once, or remove what is not wanted any more.

        Where nothing is wanted, it is no error that the library or the kernel's nftables are missing.
        """
        with self._lock:
            self._make(nats, guarded, self._services)

    def note_services(self, ranges: Sequence[ServiceRange]) -> None:
        """Let ARP requests for these addresses, and for no others, reach only vifs that are known to have them.

        Where that cannot be done, it is no error: then they reach all guests, as others do.
        """
        with self._lock:
            if tuple(ranges) != self._services:
                self._make(self._nats, self._guarded, tuple(ranges))

    def _make(
        self, nats: Sequence[Nat], guarded: Guarded | None, services: tuple[ServiceRange, ...]
    ) -> None:
        try:
            self._run(describe_tables(nats, guarded, services))
        except LinkFailed as exc:
            if services:
                log.warning("services-not-filtered", reason=str(exc))
                self._make(nats, guarded, ())
                return
            if nats or guarded is not None:
                raise
            log.debug("no-filters", reason=str(exc))
        self._nats = tuple(nats)
        self._guarded = None if guarded is None else dict(guarded)
        self._services = services

    def guard(self, guarded: Guarded) -> None:
        """Guard more ports, or let those that are guarded send from somewhere else."""
        with self._lock:
            before = self._guarded or {}
            outdated = {
                port: source
                for port in guarded
                if (source := before.get(port)) is not None and source != guarded[port]
            }
            self._change(
                {**before, **guarded},
                describe_removed(outdated, ports=False) + describe_added(guarded),
            )

    def forget(self, ports: Iterable[str]) -> None:
        """Guard some ports no longer, where they are."""
        with self._lock:
            after = dict(self._guarded or {})
            removed = {port: after.pop(port) for port in set(ports) & after.keys()}
            if removed:
                self._change(after, describe_removed(removed))

    def mend(self) -> bool:
        """Make the tables anew where somebody has removed them, or what is in them; return whether that was so."""
        with self._lock:
            if self._are_whole():
                return False
            self._run(describe_tables(self._nats, self._guarded, self._services))
            return True

    def _are_whole(self) -> bool:
        """Whether the rules that lead to all the others are there."""
        wanted = []
        if self._nats:
            wanted.append(("inet lightvm postrouting", "masquerade"))
        if self._guarded is not None:
            wanted.append(("bridge lightvm prerouting", "jump from_guest"))
        if self._services:
            wanted.append(("bridge lightvm service_arp", "drop"))
        try:
            return all(rule in self._run(f"list chain {chain}") for chain, rule in wanted)
        except LinkFailed:
            return False

    def _change(self, after: dict[str, Source | None], commands: str) -> None:
        try:
            self._run(commands)
        except LinkFailed as exc:
            self._run(describe_tables(self._nats, after, self._services))
            log.warning("filters-made-anew", reason=str(exc))
        self._guarded = after
