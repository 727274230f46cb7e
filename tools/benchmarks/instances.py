"""What is started one after the other, as their number grows: processes, containers, guests of xl and of LightVM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from benchmarks import xl
from benchmarks.containers import destroy_container, open_bundle
from benchmarks.daemon import (
    DAYTIME,
    HOST,
    NET,
    Daemon,
    create_timed,
    timed,
    until_unpaused,
    vif_address,
)
from benchmarks.linux import KERNEL, MEMORY_MIB, cmdline, initrd
from benchmarks.programs import at_random_addresses, compile_program
from benchmarks.record import Budget, Record
from lightvm.blocking import Client
from lightvm.model import Created, Mode, NetRequest, Source

BEACON_PORT = 5000
BOOT_SECONDS = 120.0
SAY_EVERY_SECONDS = 20.0
RISE = 0.75
"""The share of the time in which instances are started; the rest is for their ends."""


class NoBeacon(TimeoutError):
    """A guest has not said that its network is there."""


class Instances(ABC):
    """Things of one kind that can be started, and ended; `running` has what each is called by."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.running: list[str] = []

    @abstractmethod
    def start(self, number: int) -> dict[str, float]:
        """Start one, and put it to those that run; return what was measured, in ms by metric.

        Raises `NoBeacon` where it runs but has not been heard of.
        """

    @abstractmethod
    def end(self, one: str) -> None:
        """End one."""


def rise_and_fall(
    record: Record,
    instances: Instances,
    top: int,
    budget: Budget,
    at_top: Callable[[], None] = lambda: None,
) -> None:
    """Start instances up to `top`, or as far as the time goes, and end them again, last first; both are timed."""
    try:
        grow(record, instances, top, budget.share(RISE))
        at_top()
    finally:
        shrink(record, instances, budget)


def grow(record: Record, instances: Instances, top: int, budget: Budget) -> None:
    """Start instances up to `top`, or as far as the time goes."""
    said = time.monotonic()
    taken: list[tuple[int, dict[str, float]]] = []
    try:
        for number in range(top):
            if budget.is_over:
                record.note(f"{instances.name}: the time was enough for {number} of {top}")
                return
            try:
                taken.append((number, instances.start(number)))
            except NoBeacon as exc:
                record.note(f"{instances.name}, number {number + 1}: {exc}")
            if time.monotonic() - said > SAY_EVERY_SECONDS:
                said = time.monotonic()
                write_down(record, instances.name, taken)
                record.say(f"{instances.name}: {number + 1} of {top}")
    finally:
        write_down(record, instances.name, taken)
    record.say(f"{instances.name}: all {top}")


def write_down(record: Record, name: str, taken: list[tuple[int, dict[str, float]]]) -> None:
    """Write down what was taken, and forget it: not at once, since writing is a pause for whoever is measured."""
    for number, measured in taken:
        for metric, took in measured.items():
            record.add(name, metric, took, running=number)
    taken.clear()


def shrink(record: Record, instances: Instances, budget: Budget) -> None:
    """End all instances, timed as far as the time goes."""
    while instances.running:
        running, one = len(instances.running), instances.running.pop()
        took = timed(instances.end, one)
        if not budget.is_over:
            record.add(instances.name, "destroy", took, running=running)


class Beacons:
    """Listens for the datagram by which a guest says that its network is there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", BEACON_PORT))
        self._socket.settimeout(BOOT_SECONDS)

    def wait(self, address: str) -> None:
        """Wait for the guest with that address; raises `NoBeacon`."""
        try:
            while self._socket.recvfrom(100)[1][0] != address:
                pass  # each guest sends one: this is that of another which was given up
        except TimeoutError:
            raise NoBeacon(f"no word from {address} within {BOOT_SECONDS:.0f} s") from None

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class Processes(Instances):
    """A program that says a byte and stays."""

    def __init__(self, *, static: bool) -> None:
        super().__init__("process, static" if static else "process")
        self._program = str(compile_program("resident", static=static))
        self._said = Said()

    def start(self, number: int) -> dict[str, float]:
        """Start one: created when there is a process, booted when it has spoken."""
        arguments, actions = [self._program, "stay"], self._said.actions
        with at_random_addresses():
            begun = time.perf_counter()
            pid = os.posix_spawn(self._program, arguments, {}, file_actions=actions)
            created = time.perf_counter()
        self.running.append(str(pid))
        self._said.wait()
        return _since(begun, create=created, boot=time.perf_counter())

    def end(self, one: str) -> None:
        """Kill one, and wait for its end."""
        os.kill(int(one), signal.SIGKILL)
        os.waitpid(int(one), 0)


class Containers(Instances):
    """The same program in containers of crun, each with the namespaces and the cgroup that `crun spec` gives it."""

    def __init__(self) -> None:
        super().__init__("container, crun")
        self._bundle = open_bundle("stay", "stay")
        self._said = Said()

    def start(self, number: int) -> dict[str, float]:
        """Start one: booted when its program has spoken, created when crun has returned."""
        name = f"bench-{number}"
        with at_random_addresses():
            begun = time.perf_counter()
            crun = subprocess.Popen(self._bundle.crun_detached(name), stdout=self._said.writer)
            self.running.append(name)
            self._said.wait()
            spoken = time.perf_counter()
        if crun.wait():
            raise RuntimeError(f"crun: status {crun.returncode}")
        return _since(begun, create=time.perf_counter(), boot=spoken)

    def end(self, one: str) -> None:
        """Delete one by force."""
        destroy_container(one)


class Said:
    """A pipe on which programs say that they run."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self.actions = [(os.POSIX_SPAWN_DUP2, self.writer, 1)]

    def wait(self) -> None:
        """Wait for the next byte."""
        os.read(self._reader, 1)


class Guests(Instances):
    """Guests of LightVM, made by `create`: created when the reply is there, and let run before, as the daemon says."""

    def __init__(
        self,
        daemon: Daemon,
        name: str,
        create: Callable[[Client], tuple[Created, float]] = create_timed,
    ) -> None:
        super().__init__(name)
        self._client, self._create = daemon.client, create

    def start(self, number: int) -> dict[str, float]:
        """Start one."""
        created, took = self._create(self._client)
        self.running.append(created.domain.uuid)
        return {"create": took, "unpaused": until_unpaused(created)}

    def end(self, one: str) -> None:
        """Destroy one."""
        self._client.destroy(one)


class Beaconing(Guests):
    """Guests that say by a datagram when their network is there: `daytime`, or a small Linux."""

    def __init__(self, daemon: Daemon, beacons: Beacons, name: str, *, linux: bool) -> None:
        super().__init__(daemon, name)
        self._beacons, self._linux = beacons, linux

    def start(self, number: int) -> dict[str, float]:
        """Start one: created when the reply is there, booted when its datagram is."""
        begun = time.perf_counter()
        created = self._create_linux(number) if self._linux else self._create_daytime()
        replied = time.perf_counter()
        self.running.append(created.domain.uuid)
        if created.source is not Source.POOL:
            raise RuntimeError(f"{self.name}: the pool ran empty")
        self._beacons.wait(vif_address(created))
        return _since(begun, create=replied, boot=time.perf_counter())

    def _create_daytime(self) -> Created:
        return self._client.create(DAYTIME, cmdline=f"beacon={HOST}:{BEACON_PORT}", nets=NET)

    def _create_linux(self, number: int) -> Created:
        address = guest_address(number)
        return self._client.create(
            KERNEL,
            modules=[initrd()],
            cmdline=cmdline(address),
            memory_kib=MEMORY_MIB * 1024,
            mode=Mode.XENSTORE,
            nets=[NetRequest(network="bench", ipv4=address)],
        )


class XlGuests(Instances):
    """Guests of `xl` with one vif, the unikernel or, where there are beacons to wait for, a small Linux."""

    def __init__(self, name: str, *, beacons: Beacons | None = None) -> None:
        super().__init__(name)
        self._beacons = beacons

    def start(self, number: int) -> dict[str, float]:
        """Start one: created when `xl create` has ended, booted when its datagram is there."""
        name, address = f"bench-xl-{number}", guest_address(number)
        linux_address = address if self._beacons else None
        config = xl.write_config(name, vif=True, linux_address=linux_address)
        begun = time.perf_counter()
        took = xl.create(config)
        self.running.append(name)
        if self._beacons is None:
            return {"create": took}
        self._beacons.wait(address)
        return {"create": took, **_since(begun, boot=time.perf_counter())}

    def end(self, one: str) -> None:
        """Destroy one."""
        xl.destroy(one)


def guest_address(number: int) -> str:
    """Return the address of a guest that is told its own: outside of those that the daemon hands out."""
    return f"10.79.{200 + number // 250}.{1 + number % 250}"


def _since(begun: float, **moments: float) -> dict[str, float]:
    return {metric: (moment - begun) * 1e3 for metric, moment in moments.items()}
