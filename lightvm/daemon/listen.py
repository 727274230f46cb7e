"""The daemon's socket and its lock: one daemon to a state directory."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from lightvm.daemon.notify import activated_sockets
from lightvm.errors import AlreadyRunning, BadConfig

SOCKET_MODE = 0o660
BACKLOG = 512


@contextlib.contextmanager
def lock_state(state_dir: Path) -> Iterator[None]:
    """Hold the state directory, creating it where it is missing. Raises `AlreadyRunning` or `BadConfig`."""
    try:
        state_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise BadConfig(f"state directory cannot be used: {exc.strerror}", str(state_dir)) from exc
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRunning("another lightvmd is running", str(state_dir)) from exc
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def open_listeners(path: Path, group: str) -> Iterator[list[socket.socket]]:
    """Yield the sockets to listen on: systemd's where it passed any, else our own, mode 0660 and of that group.

    Raises `BadConfig` where the path cannot be used. A missing group is no error: then only root gets in.
    """
    passed = activated_sockets()
    if passed:
        yield passed
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        _bind(listener, path, group)
        try:
            yield [listener]
        finally:
            path.unlink(missing_ok=True)


def _bind(listener: socket.socket, path: Path, group: str) -> None:
    bound = False
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Left behind by a daemon that was killed: the lock says that it is not running.
        path.unlink(missing_ok=True)
        before = os.umask(0o777 - SOCKET_MODE)
        try:
            listener.bind(str(path))
            bound = True
        finally:
            os.umask(before)
        with contextlib.suppress(KeyError):
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        listener.listen(BACKLOG)
    except OSError as exc:
        if bound:
            path.unlink(missing_ok=True)
        raise BadConfig(f"socket cannot be made: {exc.strerror or exc}", str(path)) from exc
