"""Unmodified guests of Debian's archive, on a drive for labs: a whole system, the installer, and GRUB for Xen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import recipe
from .cache import build_once, find_built, hash_inputs
from .errors import LabError
from .host import BUILD_PROGRAMS, Mirror, find_mirror, require_programs
from .progress import say, step
from .suites import Suite

PROVISION = Path(__file__).with_name("guests.sh")
DRIVE = "guests.img"
LABEL = "guests"
ROOT_SIZE, DRIVE_SIZE = "2G", "3G"


def open_guests(suite: Suite) -> Path:
    """Return the drive, built first if the cache does not hold it.

    It is an ext4 file system with the label `guests`: ``root.img`` is a raw disk, one file system with a Debian that
    GRUB's PVH image ``grub`` boots; ``linux`` and ``initrd.gz`` are those of the installer for the network.
    """
    sources = (Path(__file__).read_bytes(), PROVISION.read_bytes(), *recipe.sources())
    key = f"guests-{suite.name}-{hash_inputs(repr(suite), *sources)}"
    if find_built("images", key) is None:
        require_programs(BUILD_PROGRAMS)
        if os.geteuid() != 0:
            raise LabError("needs-root", "building guests needs root")
        say(f"building guests of {suite.name}, once (some minutes)")
    return build_once("images", key, lambda target: build(suite, find_mirror(None), target)) / DRIVE


def build(suite: Suite, mirror: Mirror, target: Path) -> None:
    """Fill `target` with the drive."""
    root, drive = target / "root", target / "drive"
    log = target / "build.log"
    recipe.make_base(suite, mirror, root, log)
    with step("apt: a guest's kernel, services and boot loader"):
        recipe.run_script(PROVISION, root, log, suite)
    with step("file systems"):
        recipe.clean_root(root)
        shutil.move(root / "guests", drive)
        recipe.make_file_system(root, drive / "root.img", "root", ROOT_SIZE, log)
        recipe.make_file_system(drive, target / DRIVE, LABEL, DRIVE_SIZE, log)
