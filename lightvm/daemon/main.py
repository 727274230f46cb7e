"""``lightvmd``: command line, log, signals."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
import trio

from lightvm import __version__
from lightvm.daemon.config import DEFAULT_PATH, Config, load_config
from lightvm.daemon.devices import Dom0
from lightvm.daemon.disk.loops import Loops
from lightvm.daemon.jit.listener import TapWires
from lightvm.daemon.listen import lock_state, open_listeners
from lightvm.daemon.net.links import Links
from lightvm.daemon.net.nftables import NftFilters
from lightvm.daemon.notify import notify
from lightvm.daemon.run import serve_daemon
from lightvm.daemon.xenstore.socket_store import SocketStore
from lightvm.errors import LightVMError
from lightvm.xen.hypervisor import Hypervisor

log = structlog.get_logger()


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; return its exit status: 0 stopped in order, 1 failed, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="lightvmd",
        description="LightVM's service: keeps shells ready and makes domains of them.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default: {DEFAULT_PATH})"
    )
    parser.add_argument(
        "--check-config", action="store_true", help="check the configuration and exit"
    )
    parser.add_argument("-V", "--version", action="version", version=f"lightvmd {__version__}")
    options = parser.parse_args(argv)
    failed = False
    try:
        config = load_config(options.config)
        if options.check_config:
            path = options.config or DEFAULT_PATH
            print(f"{path}: good" if path.exists() else f"{path}: not there; the defaults hold")
        else:
            _run(config)
    except* LightVMError as group:
        failed = True
        for exc in _leaves(group):
            print(f"lightvmd: {exc.code}: {exc}", file=sys.stderr)
    return int(failed)


def _leaves(group: BaseExceptionGroup[LightVMError]) -> Iterator[LightVMError]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


def _run(config: Config) -> None:
    _open_log(config)
    from lightvm.xen.binding import (
        XenHypervisor,
    )  # only here: a check of the configuration needs no Xen

    daemon = config.daemon
    with (
        lock_state(Path(daemon.state_dir)),
        open_listeners(Path(daemon.socket), daemon.socket_group) as listeners,
    ):
        hypervisor = XenHypervisor()
        try:
            trio.run(_serve, config, hypervisor, listeners)
        finally:
            hypervisor.close()


async def _serve(
    config: Config, hypervisor: Hypervisor, listeners: Sequence[socket.socket]
) -> None:
    stop = trio.Event()
    versions = hypervisor.versions
    dom0 = Dom0(SocketStore(), Links(), NftFilters(), Loops(), TapWires())
    async with trio.open_nursery() as nursery:
        # From before the start on: a signal that comes meanwhile is obeyed after it.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            service = await nursery.start(serve_daemon, config, hypervisor, dom0, listeners, stop)
            log.info(
                "ready",
                version=__version__,
                xen=versions.xen,
                domctl=versions.domctl,
                domains=len(service.registry),
            )
            notify("READY=1")
            async for number in signals:
                log.info("stopping", signal=signal.Signals(number).name)
                notify("STOPPING=1")
                stop.set()
                break


def _open_log(config: Config) -> None:
    console = config.daemon.log_format == "console" or (
        config.daemon.log_format == "auto" and sys.stderr.isatty()
    )
    renderer = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    level = logging.getLevelNamesMapping()[config.daemon.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
