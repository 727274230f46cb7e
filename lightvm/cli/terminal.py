"""A terminal on a guest's console: raw, with a key to leave."""

from __future__ import annotations

import os
import selectors
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from lightvm.blocking import Client
from lightvm.cli.output import print_error
from lightvm.errors import LightVMError, NotPossibleNow

ESCAPE = b"\x1d"
"""Control and ], as in xl, virsh and telnet."""

READ_BYTES = 1024


class _Output(threading.Thread):
    """Shows what the guest says, and wakes the other side when that is over."""

    def __init__(self, socket: str | None, domain: str) -> None:
        super().__init__(daemon=True)  # waits in a system call, and ends with the process
        self._socket, self._domain = socket, domain
        self.over, self._wake = os.pipe()
        self.attached = threading.Event()
        self.writer: str | None = None
        self.failure: LightVMError | None = None

    def run(self) -> None:
        """Copy chunks until the domain has ended."""
        try:
            try:
                self._copy(attach=True)
            except NotPossibleNow:
                self._copy(attach=None)  # somebody else writes: only look
        except LightVMError as exc:
            self.failure = exc
        finally:
            self.attached.set()
            os.close(self._wake)

    def _copy(self, attach: bool | None) -> None:
        with (
            Client(self._socket) as client,
            client.follow_console(self._domain, attach=attach) as chunks,
        ):
            for chunk in chunks:
                self.writer = self.writer or chunk.writer
                self.attached.set()
                os.write(sys.stdout.fileno(), chunk.data)


def attach_terminal(socket: str | None, domain: str) -> int:
    """Connect the terminal to a console until the domain ends or the escape key is struck; return the exit code."""
    output = _Output(socket, domain)
    output.start()
    output.attached.wait()
    if output.failure is None:
        if output.writer is None:
            print_error("read-only", "somebody else is attached; only looking")
        print("Escape key: Control-]", file=sys.stderr)
        with _raw(sys.stdin.fileno()), Client(socket) as client:
            for data in _input(sys.stdin.fileno(), output.over):
                if output.writer is not None:
                    client.console_write(domain, data, output.writer)
    if output.failure is not None:
        raise output.failure
    return 0


def _input(terminal: int, over: int) -> Iterator[bytes]:
    """Yield what is typed, up to the escape key or the end of the output."""
    with selectors.DefaultSelector() as selector:
        selector.register(terminal, selectors.EVENT_READ)
        selector.register(over, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if terminal in ready:
                data, escape, _ = os.read(terminal, READ_BYTES).partition(ESCAPE)
                if data:
                    yield data
                if escape or not data:
                    return
            if over in ready:
                return


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Have a terminal raw for the length of a block."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        print(file=sys.stderr)
