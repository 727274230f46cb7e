"""Guests of the hypervisor in memory: they do what those of ``native/guest`` of the same file name do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from msgspec.structs import replace

from lightvm.model import ExitReason
from lightvm.xen.fake_domain import FakeDomain
from lightvm.xen.hypervisor import Control

_CODES = {ExitReason.POWEROFF: 0, ExitReason.REBOOT: 1, ExitReason.SUSPEND: 2, ExitReason.CRASH: 3}
_NONSENSE = (0xDEAD_BEEF, 0xDEAD_BEEF, 0xDEAD_BEEF, 0xDEAD_BEEF, 0)
_ASKED_FOR = {1: ExitReason.POWEROFF, 2: ExitReason.REBOOT, 3: ExitReason.SUSPEND}
_INPUT_BYTES = 1024

Signal = Callable[[FakeDomain], None]


class FakeGuests:
    """What guests do; `signal_console` and `signal_control` raise the events of a domain's two channels."""

    def __init__(self, signal_console: Signal, signal_control: Signal) -> None:
        self._signal_console = signal_console
        self._signal_control = signal_control

    def run(self, domain: FakeDomain) -> None:
        """Let a guest run for the first time; one that knows of no device page says nothing here."""
        if domain.boot is None or not domain.boot.image.device_page:
            return
        name = os.path.basename(domain.boot.image.path)
        words = domain.boot.cmdline.decode("utf-8", "replace").split()
        if name == "hello":
            self._hello(domain, domain.boot.cmdline, words)
        elif name == "misbehave":
            self._misbehave(domain, words)
        else:
            self.ready(domain)

    def say(self, domain: FakeDomain, text: bytes) -> None:
        """Let a guest write to its console."""
        domain.console += text
        self._signal_console(domain)

    def end(self, domain: FakeDomain, reason: ExitReason, status: int) -> None:
        """Let a guest report its end and stop."""
        domain.control = replace(
            domain.control,
            exiting=1,
            exit_reason=_CODES[reason],
            exit_status=status & 0xFFFF_FFFF,
        )
        domain.shutdown_code = _CODES[reason]
        self._signal_control(domain)

    def hear(self, domain: FakeDomain, data: bytes) -> int:
        """Let a guest that echoes do so, and others leave what does not find room; return how much did."""
        if domain.boot is None or b"echo" not in domain.boot.cmdline.split():
            taken = data[: _INPUT_BYTES - len(domain.input)]
            domain.input += taken
            return len(taken)
        domain.input += data
        *lines, rest = domain.input.split(b"\n")
        domain.input[:] = rest
        for line in lines:
            if line == b"quit":
                self.end(domain, ExitReason.POWEROFF, 0)
                break
            self.say(domain, bytes(line) + b"\n")
        return len(data)

    def obey(self, domain: FakeDomain, request: int) -> None:
        """Let a guest that hears do what it is asked for."""
        if domain.boot is None or not domain.boot.image.device_page:
            return
        words = domain.boot.cmdline.split()
        if domain.paused or domain.shutdown_code is not None or b"deaf" in words:
            return
        domain.control = replace(domain.control, acknowledged=request)
        if b"yes" in words:
            self._signal_control(domain)
        elif (reason := _ASKED_FOR.get(request & 0xFF)) is not None:
            self.end(domain, reason, 0)

    def ready(self, domain: FakeDomain) -> None:
        """Let a guest say that it is ready."""
        domain.control = Control(1, 0, 0, 0, 0)
        if not domain.watched:
            self._signal_control(domain)

    def _hello(self, domain: FakeDomain, cmdline: bytes, words: list[str]) -> None:
        self.ready(domain)
        self.say(domain, b"Hello from a LightVM guest.\n")
        if cmdline:
            self.say(domain, b"Command line: " + cmdline + b"\n")
        if "echo" in words:
            return
        statuses = [_number(word[7:]) for word in words if word.startswith("status=")]
        self.end(domain, ExitReason.POWEROFF, statuses[0] if statuses else 0)

    def _misbehave(self, domain: FakeDomain, words: list[str]) -> None:
        if "ready" in words:
            self.ready(domain)
        if "crash" in words or "triple-fault" in words:
            domain.shutdown_code = 3
        elif "shutdown" in words:
            domain.shutdown_code = 0
        elif "reboot" in words:
            self.end(domain, ExitReason.REBOOT, 0)
        elif {"loop", "deaf", "yes", "hostile"} & set(words):
            pass
        elif "flood" in words:
            domain.flooding = True
            self._signal_console(domain)
        elif "ring" in words:
            domain.corrupt = True
            self._signal_console(domain)
        elif "control" in words:
            domain.control = Control(*_NONSENSE)
            self._signal_control(domain)
        else:
            self.end(domain, ExitReason.POWEROFF, 0)


def _number(text: str) -> int:
    """Return the number at the start of a text, 0 where there is none, as LightVM's guests do."""
    found = re.match(r"-?[0-9]+", text)
    return int(found[0]) if found else 0
