"""What the lab needs of the machine it runs on: programs, and the machine's own Debian mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .progress import step

# program: the Debian package that holds it
RUN_PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ssh": "openssh-client",
    "tar": "tar",
    "setpriv": "util-linux",
    "fallocate": "util-linux",
}
BUILD_PROGRAMS = {
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "chroot": "coreutils",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# The host's settings that decide how a mirror is reached and believed.
APT_SETTINGS = (
    "Acquire::http",
    "Acquire::https",
    "Acquire::Retries",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Max-ValidTime",
    "Acquire::ForceIPv",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Where packages come from: the archive, and the security archive if the host has one."""

    archive: str
    security: str | None
    keyring: Path
    settings: str


def require_programs(programs: dict[str, str], *, assume_yes: bool = False) -> None:
    """Make sure that the programs exist; install their packages as root or if told to."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {package for name, package in programs.items() if not shutil.which(name, path=search)}
    require_packages(sorted(missing), assume_yes=assume_yes)


def require_packages(missing: list[str], *, assume_yes: bool = False) -> None:
    """Install the missing Debian packages, as root or if told to; else say how to."""
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        install.insert(0, "sudo")
        if not assume_yes:
            raise LabError(
                "missing-package",
                f"{', '.join(missing)} is not installed; run: {' '.join(install)}",
            )
    with step(f"installing {', '.join(missing)} on this machine"):
        done = subprocess.run(
            [*install, "-o", "DPkg::Lock::Timeout=600"],  # another of us may install just now
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=1200,
        )
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise LabError("install-failed", f"{' '.join(install)}: {' '.join(reason)}")


def find_mirror(override: str | None) -> Mirror:
    """Read the Debian mirror from this machine's apt, whatever format its sources have."""
    settings = read_apt_settings()
    if override:
        return Mirror(archive=override, security=None, keyring=find_keyring(), settings=settings)
    # apt itself parses the sources, and names even those that were never fetched.
    form = "--format=$(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--no-release-info", form, "Created-By: Packages"]
    listing = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = choose_archives(listing.stdout)
    if found is None:
        raise LabError("no-mirror", "no Debian archive in this machine's apt sources; use --mirror")
    archive, security = found
    return Mirror(archive=archive, security=security, keyring=find_keyring(), settings=settings)


def choose_archives(targets: str) -> tuple[str, str | None] | None:
    """Pick (archive, security archive) from lines of "URI release component"."""
    archive = security = None
    for line in targets.splitlines():
        uri, release, component = ([*line.split(), "", "", ""])[:3]
        if component != "main" or not uri:
            continue
        release = release.split("/")[0]
        if release.endswith("-security"):
            security = security or uri
        elif "debian" in uri and release.isalpha():
            archive = archive or uri
    return None if archive is None else (archive, security)


def find_keyring() -> Path:
    """Return the keyring of Debian's archive, or raise `missing-package`."""
    if not KEYRING.exists():
        raise LabError(
            "missing-package",
            "debian-archive-keyring is not installed; run: apt-get install debian-archive-keyring",
        )
    return KEYRING


def read_apt_settings() -> str:
    """Return this machine's apt settings for reaching its mirror, as lines of apt.conf."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, timeout=60).stdout
    wanted = [line for line in dump.splitlines() if line.startswith(APT_SETTINGS)]
    return "".join(f"{line}\n" for line in wanted)
