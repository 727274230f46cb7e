"""Where the daemon listens, and what to tell a person who cannot reach it."""

from __future__ import annotations

import os
import socket

from lightvm import errors

DEFAULT_SOCKET = "/run/lightvm/lightvm.sock"
"""The daemon's socket where nobody says otherwise."""

SOCKET_VARIABLE = "LIGHTVM_SOCKET"
"""The environment variable that takes the place of `DEFAULT_SOCKET`."""

DEFAULT_GROUP = "lightvm"
"""The group of the socket, named in an error where the socket itself cannot be asked."""

BUSY_DELAYS_S = tuple(0.001 * 2**step for step in range(12))
"""How long to wait between tries to connect to a daemon with a full queue: about 4 s in all."""

MAX_IDLE = 32
"""How many idle connections a client keeps: as many callers can do without connecting for each call."""


def socket_path(path: str | os.PathLike[str] | None = None) -> str:
    """Return `path`, or the path from the environment, or the default."""
    if path is not None:
        return os.fspath(path)
    return os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET


def try_connect(sock: socket.socket, path: str) -> bool:
    """Connect a Unix socket, or return False where the daemon's queue is full for the moment.

    Raises `NoDaemon`, with what to do about it.
    """
    try:
        sock.connect(path)
    except BlockingIOError:
        return False
    except FileNotFoundError as exc:
        raise errors.NoDaemon(
            "there is no such socket: start lightvmd, or set LIGHTVM_SOCKET to its path", path
        ) from exc
    except ConnectionRefusedError as exc:
        raise errors.NoDaemon("nobody listens at the socket: start lightvmd", path) from exc
    except PermissionError as exc:
        raise errors.NoDaemon(f"permission denied: {_remedy(path)}", path) from exc
    except ValueError as exc:  # a NUL in the path
        raise errors.NoDaemon(f"this cannot be a socket's path: {exc}", repr(path)) from exc
    except OSError as exc:
        raise errors.NoDaemon(f"cannot connect: {exc.strerror or exc}", path) from exc
    return True


def busy(path: str) -> errors.NoDaemon:
    """Return the error for a daemon whose queue stayed full through all of `BUSY_DELAYS_S`."""
    return errors.NoDaemon("the daemon takes no new connections: it is overloaded or stuck", path)


def _remedy(path: str) -> str:
    import grp

    try:
        gid = os.stat(path).st_gid
        group = grp.getgrgid(gid).gr_name
    except (OSError, KeyError):
        return f"become a member of the group {DEFAULT_GROUP!r}, or ask as root"
    if gid == 0:
        return "only root may use this socket"
    return f"become a member of the group {group!r}, or ask as root"
