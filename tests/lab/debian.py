"""Debian's archive as guests: a whole system behind GRUB, and the installer."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DRIVE = Path("/dev/disk/by-label/guests")
"""Where `tools/lab guests` puts them; ``tools/xenlab/guests.py`` says what is on it."""


@contextmanager
def mounted(what: Path, where: Path, *options: str) -> Iterator[Path]:
    """Have a file system mounted."""
    where.mkdir()
    subprocess.run(["mount", *options, what, where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


def settle_in(disk: Path, where: Path, *, address: str, gateway: str, key: Path) -> None:
    """Give the whole system on a disk its address, and a key that opens it; writes the key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with mounted(disk, where, "-o", "loop") as root:
        (root / "etc/systemd/network/guest.network").write_text(
            "[Match]\nDriver=vif\n"
            f"[Network]\nAddress={address}\nGateway={gateway}\nLinkLocalAddressing=no\n"
        )
        home = root / "root/.ssh"
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())


def ssh(address: str, key: Path, *command: str) -> str:
    """Run a command in a guest; return what it prints."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=60")
    given = [word for option in options for word in ("-o", option)]
    done = subprocess.run(
        ["ssh", "-i", key, *given, f"root@{address}", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
