"""Frames of a bridge: what is for nobody yet comes in at a TAP, what was kept goes out to its domain."""

from __future__ import annotations

import ctypes
import fcntl
import math
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import trio

from lightvm.daemon.jit.bpf import make_program, pack_program
from lightvm.errors import LinkFailed

TUN = Path("/dev/net/tun")
TUNSETIFF, TUNATTACHFILTER = 0x4004_54CA, 0x4010_54D5
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
"""``linux/if_tun.h``"""

NAME = b"lvtap%d"
"""The kernel puts a number in."""

ETH_P_ALL = 0x0003
LONGEST = 0x1_0000


class Wire(Protocol):
    """The frames of one bridge that are for some addresses."""

    device: str
    """Which is to be put into the bridge."""

    async def receive(self) -> bytes:
        """Wait for a frame; raises `LinkFailed`. Cancelled, it loses none."""
        ...

    def receive_nowait(self) -> bytes | None:
        """Return one more frame where there is one."""
        ...

    def send(self, port: str, frame: bytes) -> None:
        """Send a frame out by one port of the bridge; raises `LinkFailed`."""
        ...

    def close(self) -> None:
        """Receive nothing any more. The device goes."""
        ...


class Wires(Protocol):
    """What makes devices to listen with."""

    def open_wire(self, ranges: Sequence[range]) -> Wire:
        """Make one that hears what is for some addresses; raises `LinkFailed`."""
        ...


class TapWire:
    """A TAP that is to be a port of the bridge, and a socket that sends by the other ports.

    The bridge gives the TAP what is for all, and what is for a MAC address that it knows no port for. So nothing of
    what a running domain gets comes here, however much that is. Frames are sent past the bridge, straight out by a
    domain's port, so that no switch learns a sender where he is not. The device goes with the process that has it open.
    """

    def __init__(self, ranges: Sequence[range]) -> None:
        with ExitStack() as undo:
            try:
                tap = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
                undo.callback(os.close, tap)
                wanted = struct.pack("16sH22x", NAME, IFF_TAP | IFF_NO_PI)
                made = fcntl.ioctl(tap, TUNSETIFF, wanted)
                _attach_filter(tap, ranges)
                # protocol 0: it receives nothing
                self._socket = socket.socket(
                    socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
                )
            except OSError as exc:
                raise LinkFailed(f"TAP: {exc.strerror}", str(TUN)) from exc
            undo.pop_all()
        self.device = made[:16].rstrip(b"\0").decode()
        self._stream = trio.lowlevel.FdStream(tap)

    async def receive(self) -> bytes:
        """Wait for a frame."""
        try:
            return bytes(await self._stream.receive_some(LONGEST))
        except trio.BrokenResourceError as exc:  # somebody has removed the device
            raise LinkFailed(f"TAP: {exc.__cause__}", self.device) from exc

    def receive_nowait(self) -> bytes | None:
        """Return one more; whether the device is gone is for `receive` to say."""
        try:
            return os.read(self._stream.fileno(), LONGEST)
        except OSError:
            return None

    def send(self, port: str, frame: bytes) -> None:
        """Send at once, or not at all."""
        try:
            self._socket.sendto(frame, (port, ETH_P_ALL))
        except OSError as exc:
            raise LinkFailed(f"packet socket: {exc.strerror}", port) from exc

    def close(self) -> None:
        """Close both."""
        self._stream.close()
        self._socket.close()


def _attach_filter(tap: int, ranges: Sequence[range]) -> None:
    code = pack_program(make_program(ranges))
    kept = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions, and where they are
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(kept))
    fcntl.ioctl(tap, TUNATTACHFILTER, program)


class TapWires:
    """TAPs of this host."""

    def open_wire(self, ranges: Sequence[range]) -> Wire:
        """Make one."""
        return TapWire(ranges)


class MemoryWire:
    """A wire in memory, for tests and for the in-memory daemon; `broken` makes it raise."""

    def __init__(self, device: str, ranges: Sequence[range]) -> None:
        self.device = device
        self.ranges = list(ranges)
        self.sent: list[tuple[str, bytes]] = []
        """What was sent, each with the port."""
        self.broken = self.closed = False
        self._send, self._receive = trio.open_memory_channel[bytes](math.inf)

    def deliver(self, frame: bytes) -> None:
        """Let a frame arrive, whatever the filter would think of it."""
        self._send.send_nowait(frame)

    async def receive(self) -> bytes:
        """Wait for what a test delivers; when that closes the channel, the device is gone."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel as exc:
            raise LinkFailed("injected", self.device) from exc

    def receive_nowait(self) -> bytes | None:
        """Return one more that a test has delivered."""
        try:
            return self._receive.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None

    def vanish(self) -> None:
        """Let the device go."""
        self._send.close()

    def send(self, port: str, frame: bytes) -> None:
        """Note a frame."""
        if self.broken:
            raise LinkFailed("injected", port)
        self.sent.append((port, frame))

    def close(self) -> None:
        """Close the channel."""
        self.closed = True
        self._send.close()
        self._receive.close()


class MemoryWires:
    """Wires in memory."""

    def __init__(self) -> None:
        self.wires: list[MemoryWire] = []
        """The latest last."""
        self.broken = False

    def open_wire(self, ranges: Sequence[range]) -> Wire:
        """Make a wire."""
        if self.broken:
            raise LinkFailed("injected")
        wire = MemoryWire(f"lvtap{len(self.wires)}", ranges)
        self.wires.append(wire)
        return wire
