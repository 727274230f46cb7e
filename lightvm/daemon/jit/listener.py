"""Frames of a bridge, over a packet socket: what is for a service comes in, what was kept goes to its domain."""

from __future__ import annotations

import ctypes
import errno
import math
import socket
import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import trio

from lightvm.daemon.jit.bpf import make_program, pack_program
from lightvm.daemon.jit.frames import HEADER
from lightvm.errors import LinkFailed

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_VNET_HDR = 1, 15
PACKET_MR_PROMISC = 1
SO_ATTACH_FILTER = 26
OFFLOAD = 10
"""Length of ``struct virtio_net_hdr``."""


class Frame(NamedTuple):
    """A frame, and what the kernel says of it: its sender may have left the checksum to hardware that there is not."""

    data: bytes
    offload: bytes = bytes(OFFLOAD)


class Wire(Protocol):
    """The frames of one bridge that are for some addresses."""

    async def receive(self) -> Frame:
        """Wait for a frame; raises `LinkFailed`. Cancelled, it loses none."""
        ...

    def send(self, port: str, frame: Frame) -> None:
        """Send a frame out by one port of the bridge; raises `LinkFailed`."""
        ...

    def close(self) -> None:
        """Receive nothing any more."""
        ...


class Wires(Protocol):
    """The bridges of this host, to listen at."""

    def open_wire(self, bridge: str, mtu: int, ranges: Sequence[range]) -> Wire:
        """Listen at a bridge for what is for some addresses; raises `LinkFailed`."""
        ...


class PacketWire:
    """A packet socket at a bridge.

    It sees what the bridge's ports send, and what the host itself does: with ``ETH_P_ALL`` that is so. It sends past
    the bridge, straight out by a domain's port. So no switch learns a sender where he is not, and nothing that it
    sends comes back to it: it is bound to another device.
    """

    def __init__(self, bridge: str, mtu: int, ranges: Sequence[range]) -> None:
        self._bridge = bridge
        self._longest = OFFLOAD + HEADER + mtu
        try:  # protocol 0: nothing is received before there is a filter
            plain = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except OSError as exc:
            raise LinkFailed(f"packet socket: {exc.strerror}", bridge) from exc
        try:
            plain.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            self._plain = plain
            self._attach(ranges)
            plain.bind((bridge, ETH_P_ALL))
            member = struct.pack("=iHH8x", socket.if_nametoindex(bridge), PACKET_MR_PROMISC, 0)
            plain.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, member)
        except OSError as exc:
            plain.close()
            raise LinkFailed(f"packet socket: {exc.strerror}", bridge) from exc
        self._socket = trio.socket.from_stdlib_socket(plain)

    def _attach(self, ranges: Sequence[range]) -> None:
        code = pack_program(make_program(ranges))
        kept = ctypes.create_string_buffer(code, len(code))
        # struct sock_fprog: the number of instructions, and where they are
        program = struct.pack("@HP", len(code) // 8, ctypes.addressof(kept))
        try:
            self._plain.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        except OSError as exc:
            raise LinkFailed(f"filter: {exc.strerror}", self._bridge) from exc

    async def receive(self) -> Frame:
        """Wait for a frame that is no longer than the network's packets."""
        while True:
            try:
                data = await self._socket.recv(self._longest + 1)
            except OSError as exc:
                if exc.errno == errno.EINVAL:  # one frame, of a kind that its header cannot tell of
                    continue
                # Of the bridge, such as that it is down.
                raise LinkFailed(f"packet socket: {exc.strerror}", self._bridge) from exc
            if OFFLOAD < len(data) <= self._longest:
                return Frame(data[OFFLOAD:], data[:OFFLOAD])

    def send(self, port: str, frame: Frame) -> None:
        """Send at once, or not at all."""
        try:
            self._plain.sendto(frame.offload + frame.data, (port, ETH_P_ALL))
        except OSError as exc:
            raise LinkFailed(f"packet socket: {exc.strerror}", port) from exc

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class PacketWires:
    """Packet sockets at the bridges of this host."""

    def open_wire(self, bridge: str, mtu: int, ranges: Sequence[range]) -> Wire:
        """Open a socket."""
        return PacketWire(bridge, mtu, ranges)


class MemoryWire:
    """A wire in memory, for tests and for the in-memory daemon; `broken` makes it raise."""

    def __init__(self, ranges: Sequence[range]) -> None:
        self.ranges = list(ranges)
        self.sent: list[tuple[str, Frame]] = []
        """What was sent, each with the port."""
        self.broken = False
        self._send, self._receive = trio.open_memory_channel[Frame](math.inf)

    def deliver(self, data: bytes) -> None:
        """Let a frame arrive, whatever the filter would think of it."""
        self._send.send_nowait(Frame(data))

    async def receive(self) -> Frame:
        """Wait for what a test delivers."""
        return await self._receive.receive()

    def send(self, port: str, frame: Frame) -> None:
        """Note a frame."""
        if self.broken:
            raise LinkFailed("injected", port)
        self.sent.append((port, frame))

    def close(self) -> None:
        """Close the channel."""
        self._send.close()
        self._receive.close()


class MemoryWires:
    """Wires in memory."""

    def __init__(self) -> None:
        self.wires: defaultdict[str, list[MemoryWire]] = defaultdict(list)
        """By bridge, the latest last."""

    def open_wire(self, bridge: str, mtu: int, ranges: Sequence[range]) -> Wire:
        """Make a wire."""
        wire = MemoryWire(ranges)
        self.wires[bridge].append(wire)
        return wire
