"""The source of lwIP, the TCP/IP of our guests: Debian's source package, pinned, and not part of the tree.

It comes through apt, from the release named here whatever this machine runs, with lists of its own: neither apt's
configuration nor its lists are touched.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

from .cache import build_once
from .errors import LabError
from .host import find_mirror
from .progress import step

SUITE = "bookworm"
TARBALL = "lwip_2.1.3+dfsg1.orig.tar.xz"
SHA256 = "0a8276d09fc4e97bbba2f953d74af2388fc2195ea156be9d7589e297a68fde24"
PATIENCE = 300.0


def open_lwip() -> Path:
    """Return the directory with lwIP's ``src``, fetched once; raises `LabError`."""
    directory = build_once("sources", f"lwip-{SHA256[:16]}", fetch_lwip)
    return next(directory.glob("lwip-*"))


def fetch_lwip(target: Path) -> None:
    """Download the source package, check it, and unpack it into `target`."""
    with step("fetching the source of lwIP"):
        download(target)
        tarball = target / TARBALL
        if not tarball.exists():
            raise LabError("no-lwip", f"the archive has no {TARBALL} in {SUITE}")
        found = hashlib.sha256(tarball.read_bytes()).hexdigest()
        if found != SHA256:
            raise LabError("bad-lwip", f"{TARBALL} has the checksum {found}, not {SHA256}")
        with tarfile.open(tarball) as archive:
            archive.extractall(target, filter="data")


def download(target: Path) -> None:
    """Let apt fetch the source package into `target`."""
    mirror = find_mirror(None)
    state = target / "apt"
    for directory in ("lists/partial", "cache/archives/partial", "parts"):
        (state / directory).mkdir(parents=True)
    (state / "settings").write_text(mirror.settings, encoding="utf-8")
    (state / "lwip.list").write_text(
        f"deb-src [signed-by={mirror.keyring}] {mirror.archive} {SUITE} main\n", encoding="utf-8"
    )
    options = [
        *("-o", f"Dir::Etc::sourcelist={state / 'lwip.list'}"),
        *("-o", f"Dir::Etc::sourceparts={state / 'parts'}"),
        *("-o", f"Dir::State::lists={state / 'lists'}"),
        *("-o", f"Dir::Cache={state / 'cache'}"),
        *("-o", "APT::Sandbox::User="),
        *("-c", str(state / "settings")),
    ]
    for verb in (["update"], ["source", "--download-only", "lwip"]):
        done = subprocess.run(
            ["apt-get", "-q", *options, *verb],
            cwd=target,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            reason = " | ".join(done.stderr.strip().splitlines()[-2:])
            raise LabError("no-lwip", f"apt-get {' '.join(verb)}: {reason}")
