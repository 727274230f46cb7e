"""systemd's two small protocols: readiness (sd_notify(3)) and socket activation (sd_listen_fds(3))."""

from __future__ import annotations

import contextlib
import os
import socket

FIRST_FD = 3


def notify(message: str) -> None:
    """Tell systemd about a change of state; does nothing where there is no systemd to tell, or it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.connect("\0" + address[1:] if address[0] == "@" else address)
        channel.send(message.encode())


def activated_sockets() -> list[socket.socket]:
    """Return the listening sockets that systemd passed on; none where it did not start us."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    count = os.environ.pop("LISTEN_FDS", "")
    if not count.isdecimal():
        return []
    sockets = [socket.socket(fileno=FIRST_FD + index) for index in range(int(count))]
    for listener in sockets:
        listener.set_inheritable(False)
    return sockets
