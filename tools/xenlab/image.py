"""The disk image of a dom0, with the kernel, hypervisor and keys that go with it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import recipe
from .cache import build_once, cache_root, find_built, hash_inputs
from .errors import LabError
from .host import BUILD_PROGRAMS, find_mirror, require_programs
from .progress import say
from .suites import PACKAGES, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A finished image: files in one directory of the cache."""

    directory: Path
    key: str

    @classmethod
    def of_key(cls, key: str) -> Image:
        """Return the finished image with this key."""
        return cls(directory=cache_root() / "images" / key, key=key)

    @property
    def ssh_key(self) -> Path:
        """The key that opens dom0."""
        return self.directory / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        """The key that dom0 proves itself with."""
        return self.directory / "known_hosts"


def image_key(suite: Suite) -> str:
    """Return the key of the image that this version of the lab builds for `suite`."""
    return f"{suite.name}-{hash_inputs(repr(suite), repr(PACKAGES), *recipe.sources())}"


def open_image(suite: Suite, *, mirror: str | None = None, assume_yes: bool = False) -> Image:
    """Return the image of `suite`, building it first if the cache does not hold it."""
    key = image_key(suite)
    if find_built("images", key) is None:
        require_programs(BUILD_PROGRAMS, assume_yes=assume_yes)
        if os.geteuid() != 0:
            build_as_root(suite, mirror=mirror, assume_yes=assume_yes)
        else:
            source = find_mirror(mirror)
            say(f"building the {suite.name} image, once (some minutes)")
            build_once("images", key, lambda target: recipe.build(suite, source, target))
    return Image.of_key(key)


def build_as_root(suite: Suite, *, mirror: str | None, assume_yes: bool) -> None:
    """Build through sudo if allowed to, else say how: device files and chroot need root."""
    entry = Path(__file__).resolve().parents[1] / "lab"
    command = ["sudo", "env", f"LIGHTVM_CACHE={cache_root()}", str(entry), "build"]
    command += ["--suite", suite.name, *(["--mirror", mirror] if mirror else [])]
    if not assume_yes:
        raise LabError("needs-root", f"building an image needs root; run: {' '.join(command)}")
    if subprocess.run(command).returncode != 0:
        raise LabError("build-failed", "the build under sudo failed")
