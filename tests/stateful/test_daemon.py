"""Operations at random, on a daemon and on a model of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lightvm.client import Client
from lightvm.daemon.burials import PAUSE_SECONDS
from lightvm.errors import (
    DiskInUse,
    LightVMError,
    NameTaken,
    NoSuchDomain,
    NotPossibleNow,
    TimedOut,
)
from lightvm.model import Created, DiskRequest, ExitReason, NetRequest, Source, State, WaitFor
from tests.cancel.device_leftovers import DISK
from tests.cancel.leftovers import assert_nothing_left
from tests.stateful.model import Model, ModelDomain
from tests.stateful.stage import TICK_SECONDS, Stage, T

NAMES = st.sampled_from(["a", "b", "c"])
TOKENS = st.sampled_from([None, "t", "u"])
TEXT = st.binary(min_size=1, max_size=40)
CHOICE = st.integers(0, 100)


class DaemonMachine(RuleBasedStateMachine):
    """Does the same to both, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.model = Model()
        self.had_no_store = False

    def teardown(self) -> None:
        """Fail where anything is left."""
        try:
            if (
                self.had_no_store
            ):  # what of devices could not be removed then, the next daemon removes
                self.stage.store.broken = False
                self.stage.stop()
                self.stage.start()
            self.stage.play(self._nothing_left)
        finally:
            self.stage.close()

    async def _nothing_left(self) -> None:
        await assert_nothing_left(self.stage.lvm, foreign=self.model.foreign)

    def attempt(
        self, question: Callable[[Client], Awaitable[T]], error: type[LightVMError] | None
    ) -> T | None:
        """Ask the daemon; it answers with just this error, or with none."""

        async def attempt(client: Client) -> T | LightVMError:
            try:
                return await question(client)
            except LightVMError as exc:
                return exc

        answer = self.stage.ask(attempt)
        if isinstance(answer, LightVMError):
            assert error is not None, repr(answer)
            assert type(answer) is error
            return None
        assert error is None, f"{answer!r} instead of {error}"
        return answer

    def pick(self, choice: int, domains: list[ModelDomain]) -> ModelDomain:
        """Pick one domain."""
        return domains[choice % len(domains)]

    # Clients

    @rule(name=st.none() | NAMES, token=TOKENS, cold=st.booleans(), paused=st.booleans())
    def create(self, name: str | None, token: str | None, cold: bool, paused: bool) -> None:
        """Create a domain that runs until it is ended."""
        self._create("noop", name, token, cold=cold, paused=paused)

    @precondition(lambda self: not self.stage.store.broken)
    @rule(name=st.none() | NAMES, token=TOKENS, cold=st.booleans(), disk=st.integers(0, 1))
    def create_with_devices(
        self, name: str | None, token: str | None, cold: bool, disk: int
    ) -> None:
        """Create a domain with a network and a disk."""
        if disk not in self.model.stuck:
            self._create("noop", name, token, cold=cold, disk=disk)

    @rule(name=st.none() | NAMES, token=TOKENS, status=st.integers(-3, 3))
    def create_short_lived(self, name: str | None, token: str | None, status: int) -> None:
        """Create a domain that prints and ends at once."""
        domain = self._create("hello", name, token, cmdline=f"status={status}")
        if domain is not None:
            domain.exit = (ExitReason.POWEROFF, status)
            domain.console = (
                f"Hello from a LightVM guest.\nCommand line: status={status}\n".encode()
            )
            self.stage.settle()

    def _create(
        self,
        guest: str,
        name: str | None,
        token: str | None,
        *,
        cold: bool = False,
        paused: bool = False,
        cmdline: str | None = None,
        disk: int | None = None,
    ) -> ModelDomain | None:
        """Create a domain; return it where it is new."""
        existing = self.model.by_token(token)
        taken = existing is None and name is not None and self.model.named(name) is not None
        stands = existing is not None and existing.state is State.PAUSED and not existing.ready
        used = existing is None and disk is not None and self.model.has_disk(disk)
        error: type[LightVMError] | None = None
        if taken or used:
            error = NameTaken if taken else DiskInUse
        elif stands and not paused:
            error = TimedOut
        nets, disks = self._devices(disk)

        async def create(client: Client) -> Created:
            return await client.create(
                getattr(self.stage.lvm, guest),
                name=name,
                token=token,
                paused=paused,
                cmdline=cmdline,
                memory_kib=8192 if cold else None,
                nets=nets,
                disks=disks,
                wait=None if paused else WaitFor.READY,
            )

        created = self.attempt(create, error)
        if created is None:
            return None
        if existing is not None:
            assert created.source is Source.EXISTING
            assert created.domain.uuid == existing.uuid
            return None
        assert created.source is Source.COLD if cold else created.source is not Source.EXISTING
        made = created.domain
        domain = ModelDomain(
            made.uuid, made.domid, made.name, token, paused, ready=not paused, disk=disk
        )
        self.model.domains[made.uuid] = domain
        return domain

    def _devices(
        self, disk: int | None
    ) -> tuple[list[NetRequest] | None, list[DiskRequest] | None]:
        if disk is None:
            return None, None
        path = self.stage.directory / f"{DISK}{disk}"
        if not path.exists():
            path.write_bytes(bytes(4096))
        net = NetRequest(network="lan", mac=f"0a:00:00:00:00:0{disk}", ipv4=f"10.0.0.{4 + disk}")
        return [net], [DiskRequest(path=str(path))]

    def note_end(self, domain: ModelDomain) -> None:
        """Note that a domain is about to end."""
        if domain.disk is not None and self.stage.store.broken:
            self.model.stuck.add(domain.disk)

    @precondition(lambda self: self.model.domains)
    @rule(choice=CHOICE, by=st.sampled_from(["name", "uuid", "domid"]), wait=st.booleans())
    def destroy(self, choice: int, by: str, wait: bool) -> None:
        """Destroy a domain, live or not."""
        domain = self.pick(choice, list(self.model.domains.values()))
        if not domain.live:
            by = "uuid"  # name and domid may be another domain's by now
        self.note_end(domain)
        key = str(getattr(domain, by))
        self.attempt(lambda client: client.destroy(key, wait=wait), None)
        del self.model.domains[domain.uuid]
        if not wait:  # then it is given back in the background
            self.stage.settle(PAUSE_SECONDS + TICK_SECONDS)
        assert domain.domid not in self.stage.hypervisor.domains

    @rule()
    def destroy_nobody(self) -> None:
        """Destroy what is not there."""
        self.attempt(lambda client: client.destroy("nobody"), NoSuchDomain)

    @precondition(lambda self: self.model.domains)
    @rule(choice=CHOICE, paused=st.booleans())
    def pause_or_unpause(self, choice: int, paused: bool) -> None:
        """Stop a domain, or let it run."""
        domain = self.pick(choice, list(self.model.domains.values()))
        self.attempt(
            lambda client: (client.pause if paused else client.unpause)(domain.uuid),
            None if domain.live else NotPossibleNow,
        )
        if domain.live:
            domain.paused = paused
            domain.ready = domain.ready or not paused

    # Guests and others

    @precondition(lambda self: self.model.live())
    @rule(choice=CHOICE, text=TEXT)
    def print(self, choice: int, text: bytes) -> None:
        """Let a guest write to its console."""
        domain = self.pick(choice, self.model.live())
        self.stage.do(lambda: self.stage.hypervisor.say(domain.domid, text))
        domain.console += text

    @precondition(lambda self: self.model.live())
    @rule(choice=CHOICE, status=st.integers(-3, 3), text=TEXT)
    def guest_ends(self, choice: int, status: int, text: bytes) -> None:
        """Let a guest end with a word."""
        domain = self.pick(choice, self.model.live())
        self.note_end(domain)
        self.stage.do(lambda: self.stage.hypervisor.say(domain.domid, text))
        self.stage.do(lambda: self.stage.hypervisor.end(domain.domid, ExitReason.POWEROFF, status))
        domain.console += text
        domain.exit = (ExitReason.POWEROFF, status)

    @precondition(lambda self: self.restartable())
    @rule(choice=CHOICE)
    def guest_reboots(self, choice: int) -> None:
        """Let a guest ask to be started again; the first time, that is done at once."""
        domain = self.pick(choice, self.restartable())
        before = self.stage.ask(lambda client: client.info(domain.name))
        self.stage.do(lambda: self.stage.hypervisor.end(domain.domid, ExitReason.REBOOT, 0))
        self.stage.settle()
        again = self.stage.ask(lambda client: client.info(domain.name))
        assert again.uuid != domain.uuid
        assert again.restarts == 1
        del self.model.domains[domain.uuid]
        self.model.domains[again.uuid] = ModelDomain(
            again.uuid,
            again.domid,
            domain.name,
            domain.token,
            False,
            ready=True,
            restarted=True,
            disk=domain.disk,
        )
        assert (again.vifs, again.vbds) == (before.vifs, before.vbds)

    def restartable(self) -> list[ModelDomain]:
        """Return those that are started again at once."""
        able = [domain for domain in self.model.live() if not domain.restarted]
        if self.stage.store.broken:
            return [domain for domain in able if domain.disk is None]
        return able

    @precondition(lambda self: self.model.live())
    @rule(choice=CHOICE)
    def guest_crashes(self, choice: int) -> None:
        """Let a guest crash."""
        domain = self.pick(choice, self.model.live())
        self.note_end(domain)
        self.stage.hypervisor.crash(domain.domid)
        domain.exit = (ExitReason.CRASH, None)

    @precondition(lambda self: self.model.live())
    @rule(choice=CHOICE)
    def somebody_kills(self, choice: int) -> None:
        """Let somebody else destroy a domain."""
        domain = self.pick(choice, self.model.live())
        self.stage.settle(0.01)  # what it has said until then is heard
        self.note_end(domain)
        self.stage.hypervisor.kill(domain.domid)
        domain.exit = (ExitReason.LOST, None)

    @rule()
    def foreign_domain_comes(self) -> None:
        """Let somebody else make a domain."""
        self.model.foreign.add(self.stage.hypervisor.foreign(memory_kib=4096))

    @precondition(lambda self: self.model.foreign)
    @rule()
    def foreign_domain_goes(self) -> None:
        """Let somebody else's domain go."""
        self.stage.hypervisor.kill(self.model.foreign.pop())

    @rule(broken=st.booleans())
    def store_breaks_or_mends(self, broken: bool) -> None:
        """Break XenStore, or mend it."""
        self.stage.store.broken = broken
        self.had_no_store |= broken

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        """Let another daemon follow this one."""
        self.stage.settle()
        if kill:
            self.stage.kill()
        else:
            self.stage.stop()
        self.stage.start()
        if not self.stage.store.broken:
            self.model.stuck.clear()
        for domain in self.model.domains.values():
            domain.console = b""  # it is the daemon's

    # What must hold

    @invariant()
    def all_agrees_with_the_model(self) -> None:
        """Compare all that can be seen, when what had to happen has happened."""
        self.stage.settle()
        self.stage.ask(self._compare)
        assert self.model.foreign <= self.stage.hypervisor.domains.keys()

    async def _compare(self, client: Client) -> None:
        listed = await client.list(all=True)
        assert {d.uuid for d in listed} == self.model.domains.keys()
        for domain in listed:
            model = self.model.domains[domain.uuid]
            exit_ = None if domain.exit is None else (domain.exit.reason, domain.exit.status)
            assert (domain.name, domain.domid) == (model.name, model.domid)
            assert (domain.state, exit_) == (model.state, model.exit)
            chunk = await client.console_read(domain.uuid)
            assert (chunk.data, chunk.ended) == (model.console, not model.live)
        live = await client.list()
        assert {d.uuid for d in live} == {domain.uuid for domain in self.model.live()}


@pytest.mark.slow
def test_a_daemon_does_what_its_model_does(threadless: None) -> None:
    run_state_machine_as_test(
        DaemonMachine,
        settings=settings(max_examples=100, stateful_step_count=25, deadline=None),
    )
