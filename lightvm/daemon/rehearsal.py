"""What is known of a create before anybody asks for it, and what is left to do when somebody has."""

from __future__ import annotations

import msgspec
import structlog
from msgspec.structs import force_setattr

from lightvm import calls, wire
from lightvm.daemon.clock import WallClock
from lightvm.daemon.creator import POOL, READY, Begun, Creator, Plan
from lightvm.daemon.domains import LiveDomain, Registry
from lightvm.daemon.images import Identity, ImageCache
from lightvm.daemon.journal import Journal
from lightvm.daemon.net.networks import Networks
from lightvm.daemon.quiet import Quiet
from lightvm.daemon.shell_maker import Shell
from lightvm.daemon.shells import Pools, ShellPool
from lightvm.daemon.stopwatch import Stopwatch
from lightvm.daemon.understanding import Understood
from lightvm.model import Created, Phases
from lightvm.xen.express import SOME_DURATION, SOME_TIME, Form, Outcome, Ticket
from lightvm.xen.hypervisor import Boot, Hypervisor

log = structlog.get_logger()

_SOME_PHASES = Phases(
    prepare_us=0,
    load_us=SOME_DURATION,
    journal_us=SOME_DURATION,
    unpause_us=SOME_DURATION,
    total_us=SOME_DURATION,
    ready_us=SOME_DURATION,
)


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A domain that a shell would become, and the ticket by which the engine makes it one."""

    shell: Shell
    pool: ShellPool
    meant: Understood
    domain: LiveDomain
    issued: object
    record_bytes: int


class Rehearser:
    """Rehearses creates; and enters those into the tables that the engine has carried out."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        journal: Journal,
        registry: Registry,
        pools: Pools,
        quiet: Quiet,
        networks: Networks,
        images: ImageCache,
        clock: WallClock,
        creator: Creator,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._registry = registry
        self._pools = pools
        self._quiet = quiet
        self._networks = networks
        self._images = images
        self._clock = clock
        self._creator = creator

    def suits(self, meant: Understood) -> bool:
        """Whether a request is of the kind that can be rehearsed: all that it gets is in the shell already."""
        request, shape = meant.request, meant.wish.shape
        return (
            meant.wish.pool is not None
            and request.wait is READY
            and not shape.xenstore
            and meant.scheduling is None
            and request.name is None
            and request.token is None
            and not request.disks
            and not request.modules
            and self._identify(meant) is not None
        )

    def _identify(self, meant: Understood) -> Identity | None:
        """Return which file the image is, or None where that has changed."""
        path = meant.request.image
        return self._images.identity(path) if self._images.get_nowait(path) is meant.image else None

    def rehearse(self, shell: Shell, pool: ShellPool, meant: Understood) -> Rehearsal | None:
        """Return all that is known of the domain that a shell would become, or None where it would get other things."""
        identity = self._identify(meant)
        assignment = self._networks.foresee(meant.wish.nets, shell.leases)
        if identity is None or assignment is None:
            return None
        request = meant.wish.request
        name = self._registry.suggest()
        boot = Boot(
            image=meant.image,
            cmdline=request.cmdline.encode() if request.cmdline else b"",
            name=name.encode(),
            metadata=request.metadata or b"",
            vifs=assignment.packed,
        )
        plan = Plan(
            wish=meant.wish,
            name=name,
            boot=boot,
            vifs=assignment.vifs,
            disks=(),
            scheduling=None,
            watched=True,
            restarts=0,
        )
        domain = self._creator.describe(shell, plan, SOME_TIME)
        record = self._journal.encode(domain.record)
        domain.ready = SOME_TIME
        created = Created(domain=domain.describe(), source=POOL, phases=_SOME_PHASES)
        domain.ready = None
        ticket = Ticket(
            handle=shell.handle,
            boot=boot,
            path=request.image,
            identity=identity,
            record=Form.of(record),
            reply=Form.of(wire.encode_reply(calls.CreateReply(created=created))),
        )
        return Rehearsal(
            shell=shell,
            pool=pool,
            meant=meant,
            domain=domain,
            issued=self._hypervisor.issue(ticket),
            record_bytes=len(record),
        )

    def is_good(self, rehearsal: Rehearsal) -> bool:
        """Whether it could come to pass just now. Part of the hot path."""
        return self._networks.are_ahead(rehearsal.shell.leases) and self._registry.is_free(
            rehearsal.domain.record.name
        )

    def take_back(self, rehearsal: Rehearsal, outcome: Outcome) -> None:
        """Do what is left to do where the engine has failed; the shell is spoilt."""
        log.warning("ticket-spoilt", domid=rehearsal.shell.handle.domid, error=str(outcome.error))
        self._pools.take(rehearsal.pool)
        if outcome.journalled:
            self._journal.commit(rehearsal.domain.record, outcome.journalled)
        self._creator.give_up(rehearsal.shell, rehearsal.pool)

    def enter(self, rehearsal: Rehearsal, outcome: Outcome, ready: int = 0) -> Begun:
        """Enter the domain that a shell has become into the tables; returns what `Creator.complete` goes on with.

        `ready` is since when its guest is, as far as that is known.
        """
        domain, wish = rehearsal.domain, rehearsal.meant.wish
        self._pools.take(rehearsal.pool)
        rehearsal.pool.instant += 1
        self._networks.assign(wish.nets, None, rehearsal.shell.leases)
        force_setattr(domain.record, "created", self._clock.at(outcome.loaded))
        self._journal.commit(domain.record, outcome.journalled)
        self._creator.enter(domain)
        self._quiet.note_request()
        begun = outcome.begun
        watch = Stopwatch(begun, begun, outcome.loaded, outcome.asked, outcome.running, ready)
        return Begun(request=wish.request, domain=domain, source=POOL, watch=watch, watched=False)
