"""nftables through its own library, libnftables; no program is ever executed."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from lightvm.daemon.net.filters import Nat, Port, ServiceRange, Source
from lightvm.daemon.net.tables import Change, Members, Rules, describe_tables
from lightvm.errors import LinkFailed

log = structlog.get_logger()

LIBRARY = "libnftables.so.1"
"""Its ABI has been stable since nftables 0.9; Debian's package is libnftables1."""

NFT_CTX_OUTPUT_JSON = 1 << 4
"""``nftables/libnftables.h``"""

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN, NFT_MSG_GETGEN, NFTA_GEN_ID = 10, 15, 16, 1
"""``linux/netlink.h``, ``linux/netfilter/nfnetlink.h`` and ``nf_tables.h``"""

ANSWER_SECONDS = 5.0
"""How long the kernel may take to answer; it does so at once."""

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


def read_generation() -> int:
    """Return a number that each change to the kernel's tables changes, whoever makes it; raises `LinkFailed`.

    Looking at the tables themselves takes a time that grows with them.
    """
    # struct nlmsghdr and struct nfgenmsg, as in linux/netlink.h and linux/netfilter/nfnetlink.h
    request = struct.pack(
        "=IHHIIBBH", 20, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 1, 0, 0, 0, 0, 0
    )
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.settimeout(ANSWER_SECONDS)
            netlink.sendto(request, (0, 0))
            answer = netlink.recv(4096)
    except OSError as exc:
        raise LinkFailed(f"nftables: {exc}", "netlink") from exc
    kind, size, attribute = struct.unpack_from("=4xH14xHH", answer)
    if kind != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN or (size, attribute) != (8, NFTA_GEN_ID):
        raise LinkFailed("nftables does not say which generation its tables are", "netlink")
    return int.from_bytes(answer[24:28])


class NftFilters:
    """`Filters` in the kernel.

    What there should be is known here too. So a change that fails since somebody has removed our tables, such as
    ``nft flush ruleset`` of a firewall's restart, makes them anew.
    """

    def __init__(self, open_library: Callable[[], Nftables] = Nftables) -> None:
        self._open = open_library
        self._library: Nftables | None = None
        self._lock = threading.Lock()
        self._rules = Rules()
        self._ports: dict[str, Port] = {}
        self._members = Members({})
        self._seen = 0
        """The generation of the kernel's tables where only we have changed any since ours were found whole."""

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

    def rebuild(
        self, nats: Sequence[Nat], ports: Mapping[str, Port], *, guards: bool, quiet: bool
    ) -> None:
        """Make both tables anew at once, or remove what is not wanted any more.

        Where nothing is needed, it is no error that the library or the kernel's nftables are missing.
        """
        with self._lock:
            members = Members(ports)
            self._rules = self._make(
                Rules(tuple(nats), guards, quiet, self._rules.services), members
            )
            self._ports, self._members = dict(ports), members

    def note_services(self, ranges: Sequence[ServiceRange]) -> None:
        """Let ARP requests for these addresses, and for no others, reach only vifs that have them."""
        with self._lock:
            if tuple(ranges) != self._rules.services:
                rules = self._rules._replace(services=tuple(ranges))
                self._rules = self._make(rules, self._members) if rules.quiet else rules

    def _make(self, rules: Rules, members: Members) -> Rules:
        """Make both tables, and return with which rules that could be done."""
        try:
            self._run(describe_tables(rules, members))
        except LinkFailed as exc:
            if rules.quiet:
                log.warning("guests-hear-all", reason=str(exc))
                return self._make(rules._replace(quiet=False), members)
            if rules.nats or rules.guards:
                raise
            log.debug("no-filters", reason=str(exc))
        return rules

    def add(self, ports: Mapping[str, Port]) -> None:
        """Take in more ports."""
        with self._lock:
            self._change({name: (self._ports.get(name), port) for name, port in ports.items()})

    def bind(self, sources: Mapping[str, Source | None]) -> None:
        """Give ports their addresses in place of those they had; one that is not known is passed over."""
        with self._lock:
            known = {name: self._ports[name] for name in sources if name in self._ports}
            self._change(
                {name: (port, port._replace(source=sources[name])) for name, port in known.items()}
            )

    def forget(self, ports: Iterable[str]) -> None:
        """Let some ports go, where they are known."""
        with self._lock:
            self._change({name: (self._ports[name], None) for name in ports if name in self._ports})

    def mend(self) -> bool:
        """Make the tables anew where somebody has removed them, or what is in them; return whether that was so."""
        with self._lock:
            if not (self._rules.nats or self._rules.sets):
                return False
            generation = read_generation()
            if generation == self._seen:
                return False
            if self._are_whole():
                self._seen = generation
                return False
            self._run(describe_tables(self._rules, self._members))
            return True

    def _are_whole(self) -> bool:
        """Whether the rules that lead to all the others are there."""
        wanted = []
        if self._rules.nats:
            wanted.append(("inet lightvm postrouting", "masquerade"))
        if self._rules.guards:
            wanted.append(("bridge lightvm prerouting", "jump from_guest"))
        if self._rules.quiet:
            wanted.append(("bridge lightvm forwarded", "jump to_guest"))
        try:
            return all(rule in self._run(f"list chain {chain}") for chain, rule in wanted)
        except LinkFailed:
            return False

    def _change(self, change: Change) -> None:
        commands = self._members.change(change, self._rules.sets)
        try:
            if commands:
                self._run(commands)
                self._seen += 1  # one transaction, and no reason to look at the tables
        except LinkFailed as exc:
            log.warning("filters-made-anew", reason=str(exc))
            try:
                self._rules = self._make(self._rules, self._members)
            except LinkFailed:
                self._members.change({name: (now, was) for name, (was, now) in change.items()}, ())
                if any(
                    port is not None and port.guarded for pair in change.values() for port in pair
                ):
                    raise
                log.warning("ports-not-filtered", reason=str(exc))
                return
        for name, (_, port) in change.items():
            if port is None:
                del self._ports[name]
            else:
                self._ports[name] = port
