"""The development environment: a virtual environment outside the tree, and the packages of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from xenlab.cache import build_once, hash_inputs
from xenlab.host import require_packages
from xenlab.progress import step
from xenlab.wheels import find_missing_for_build, make_pip, run_pip

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


# The environment is moved after it is made, so its scripts name a Python that is gone: modules are run instead.
CLANG_FORMAT = ("-c", "from clang_format import clang_format; clang_format()")


def open_environment() -> Path:
    """Return the Python of an environment with everything that checks and tests need."""
    missing = find_missing_for_build()
    if shutil.which("gcc") is None:
        missing.append("gcc")
    require_packages(sorted(set(missing)))
    key = hash_inputs(sys.version, sys.prefix, REQUIREMENTS.read_text(encoding="utf-8"))
    return build_once("environments", key, _make) / "bin" / "python"


def _make(target: Path) -> None:
    with step("making the development environment"):
        run_pip([*make_pip(target), "install", "-r", str(REQUIREMENTS)])


def run(python: Path, *arguments: str, quiet: bool = False, **environment: str) -> int:
    """Run a module of the environment (``-m NAME ...``) in the tree; return its exit status."""
    settings = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"} | environment
    done = subprocess.run(
        [str(python), *arguments],
        cwd=ROOT,
        env=settings,
        check=False,
        stdout=subprocess.DEVNULL if quiet else None,
    )
    return done.returncode


def enter(module: str, arguments: list[str]) -> NoReturn:
    """Become a module of the tools that runs in the environment; raises `LabError` where there can be none."""
    settings = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"}
    python = str(open_environment())
    os.execve(  # noqa: S606 (a shell is what it does without)
        python, [python, "-m", module, *arguments], settings
    )
