"""The daemon on one screen: what is opened, what runs, and in which order it stops."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
import trio

from lightvm.daemon.attention import Attention
from lightvm.daemon.clock import WallClock
from lightvm.daemon.config import Config
from lightvm.daemon.creator import Creator
from lightvm.daemon.devices import Devices, Dom0
from lightvm.daemon.domains import Registry
from lightvm.daemon.events import EventBus
from lightvm.daemon.express import Express
from lightvm.daemon.foreign import Foreigners
from lightvm.daemon.garbage import collect_garbage
from lightvm.daemon.handlers import Service
from lightvm.daemon.housekeeping import Housekeeper
from lightvm.daemon.jit.services import JitServices
from lightvm.daemon.journal import Journal
from lightvm.daemon.lifecycle import Lifecycle
from lightvm.daemon.plugger import Plugger
from lightvm.daemon.power import PowerKeeper
from lightvm.daemon.pump import EventPump
from lightvm.daemon.quiet import Quiet
from lightvm.daemon.reaper import Reaper
from lightvm.daemon.reconcile import Reconciliation
from lightvm.daemon.rehearsal import Rehearser
from lightvm.daemon.scheduling import find_cpupool, plan_default
from lightvm.daemon.server import accept_connections
from lightvm.daemon.shell_maker import ShellMaker
from lightvm.daemon.shells import Pools
from lightvm.daemon.spinner import fit_spin
from lightvm.daemon.terminals import Terminals
from lightvm.daemon.tickets import Tickets
from lightvm.daemon.waiting_room import WaitingRoom
from lightvm.daemon.xenstore.names import NameKeeper
from lightvm.xen.hypervisor import Hypervisor

log = structlog.get_logger()


async def serve_daemon(
    config: Config,
    hypervisor: Hypervisor,
    dom0: Dom0,
    listeners: Sequence[socket.socket],
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set; ready when `task_status` is told.

    On stop no new connection is taken, calls in progress get `drain_seconds`, and the shells are given back, and so is
    what ended domains still hold. Running domains are never touched: the next daemon adopts them.
    """
    with (
        contextlib.closing(Journal(Path(config.daemon.state_dir) / "journal")) as journal,
        contextlib.closing(Attention()) as attention,
        contextlib.closing(WaitingRoom()) as waiting_room,
    ):
        await attention.fit_moment()
        attention.watch(hypervisor.events_fd)
        await _serve(
            config,
            hypervisor,
            dom0,
            listeners,
            stop,
            journal,
            attention,
            waiting_room,
            task_status,
        )


async def _serve(
    config: Config,
    hypervisor: Hypervisor,
    dom0: Dom0,
    listeners: Sequence[socket.socket],
    stop: trio.Event,
    journal: Journal,
    attention: Attention,
    waiting_room: WaitingRoom,
    task_status: trio.TaskStatus[Service],
) -> None:
    limits = config.limits
    registry = Registry(
        keep_exited=limits.keep_exited, keep_exited_seconds=limits.keep_exited_seconds
    )
    devices = Devices(config, dom0)
    cpus = plan_default(config.scheduling.cpus, hypervisor)
    cpupool = await trio.to_thread.run_sync(find_cpupool, config.scheduling.cpupool, dom0.store)
    maker = ShellMaker(hypervisor, journal, devices, cpus=cpus, cpupool=cpupool)
    quiet = Quiet()
    pools = Pools(config, hypervisor, maker, quiet)
    names = NameKeeper(dom0.store)
    bus = EventBus()
    async with trio.open_nursery() as background:
        clock = WallClock()
        lifecycle = Lifecycle(
            hypervisor=hypervisor,
            journal=journal,
            registry=registry,
            names=names,
            devices=devices,
            bus=bus,
            clock=clock,
            background=background,
            wait_seconds=limits.wait_seconds,
        )
        terminals = Terminals(hypervisor, lifecycle, devices, background)
        housekeeper = Housekeeper(hypervisor, quiet, names, terminals)
        plugger = Plugger(
            hypervisor=hypervisor, devices=devices, lifecycle=lifecycle, background=background
        )
        creator = Creator(
            config=config,
            spin_us=fit_spin(config.pool.ready_spin_us, attention.moment, hypervisor.host().cpus),
            hypervisor=hypervisor,
            journal=journal,
            registry=registry,
            pools=pools,
            quiet=quiet,
            maker=maker,
            devices=devices,
            bus=bus,
            lifecycle=lifecycle,
            housekeeper=housekeeper,
            plugger=plugger,
            clock=clock,
            background=background,
        )
        rehearser = Rehearser(
            hypervisor=hypervisor,
            journal=journal,
            registry=registry,
            pools=pools,
            quiet=quiet,
            networks=devices.networks,
            images=creator.understanding.images,
            clock=clock,
            creator=creator,
        )
        tickets = Tickets(pools, rehearser, creator.understanding, quiet)
        pump = EventPump(hypervisor, lifecycle)
        express = Express(
            hypervisor=hypervisor,
            journal=journal,
            tickets=tickets,
            rehearser=rehearser,
            spinner=creator.spinner,
            lifecycle=lifecycle,
            pump=pump,
            clock=clock,
            attention=attention,
            waiting_room=waiting_room,
        )
        power = PowerKeeper(hypervisor, registry, lifecycle, creator, devices, background)
        lifecycle.on_end = power.note_end
        services = JitServices(config, registry, creator, lifecycle, devices, journal)
        await devices.start()
        reaper = Reaper(hypervisor, registry, lifecycle, pools, dom0.store)
        background.start_soon(lifecycle.burials.begin_noted)
        await Reconciliation(
            hypervisor,
            journal,
            registry,
            lifecycle,
            names,
            devices,
            terminals,
            limits.console_kib * 1024,
        ).run()
        background.start_soon(plugger.plug_adopted, registry)
        background.start_soon(clock.keep_adjusted)
        background.start_soon(pump.pump_events)
        background.start_soon(pump.renew_budgets)
        background.start_soon(reaper.notice_changes)
        background.start_soon(reaper.hear_hints)
        background.start_soon(names.write_names)
        background.start_soon(housekeeper.settle_domains)
        background.start_soon(tickets.make_tickets)
        background.start_soon(lifecycle.forget_exited)
        background.start_soon(devices.mend_filters)
        background.start_soon(devices.mend_loops)
        background.start_soon(devices.bind_late)
        background.start_soon(devices.disconnect_left)
        background.start_soon(collect_garbage, quiet)
        filling = await background.start(_refill, pools)
        instantiating = await background.start(services.serve, dom0.wires)

        service = Service(
            config=config,
            hypervisor=hypervisor,
            registry=registry,
            pools=pools,
            creator=creator,
            lifecycle=lifecycle,
            power=power,
            services=services,
            names=names,
            foreigners=Foreigners(
                hypervisor=hypervisor,
                registry=registry,
                pools=pools,
                journal=journal,
                names=names,
            ),
            devices=devices,
            bus=bus,
            journal=journal,
            attention=attention,
            express=express,
            stop=stop,
            started=time.monotonic(),
            waiting_room=waiting_room,
        )
        background.start_soon(waiting_room.keep_door, express.serve_all)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(
                        accept_connections,
                        listener,
                        service,
                        connections,
                        config.daemon.max_connections,
                    )
                task_status.started(service)
                await stop.wait()
                accepting.cancel_scope.cancel()
            instantiating.cancel()
            waiting_room.empty()
            connections.cancel_scope.deadline = trio.current_time() + config.daemon.drain_seconds
        filling.cancel()
        await pools.drain()
        if left := await lifecycle.burials.finish(config.daemon.drain_seconds):
            log.warning("domains-not-buried", left=left)
        background.cancel_scope.cancel()


async def _refill(
    pools: Pools, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
) -> None:
    """Fill the pools until told to stop, which comes before the rest of the background stops."""
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await pools.refill_shells()
