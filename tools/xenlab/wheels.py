"""Wheels, made on the host: the project's own, and those of what it depends on.

dom0 needs no network and no compiler time for them: dependencies come ready-made for its version
of Python, and the project's wheel is built once per state of the sources.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from .cache import build_once, hash_inputs
from .errors import LabError
from .host import require_packages
from .lwip import SHA256 as LWIP_SHA256
from .lwip import open_lwip
from .progress import step
from .suites import Suite

PROJECT = Path(__file__).resolve().parents[2]
# Parts of the tree that no wheel is made of, so that work on them rebuilds nothing.
NOT_INPUTS = {"build", "dist", "docs", "tests", "tools", "venv", "__pycache__"}
# What a lab is for: the daemon, and the tests of it.
EXTRAS = ("daemon", "test")
PIP_PATIENCE = 900.0
# The extension, and programs; one that is linked statically asks for no C library.
MACHINE_CODE = re.compile(r".*(\.so|\.data/scripts/[^/]+)").fullmatch


def list_inputs(root: Path = PROJECT) -> Iterator[Path]:
    """Yield every file that the project's wheel may be made of, in a fixed order."""
    for entry in sorted(root.iterdir()):
        if entry.name in NOT_INPUTS or entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from list_inputs(entry)
        elif entry.suffix not in (".pyc", ".so", ".o"):
            yield entry


def hash_project(root: Path = PROJECT) -> str:
    """Return a key of the sources as they are now."""
    parts: list[str | bytes] = [sys.version, LWIP_SHA256]
    for path in list_inputs(root):
        parts += [str(path.relative_to(root)), path.read_bytes()]
    return hash_inputs(*parts)


def open_project_wheel(root: Path = PROJECT) -> Path:
    """Return the wheel of the project in `root`, building it if the sources changed."""
    key = f"project-{hash_project(root)}"
    directory = build_once("wheels", key, lambda target: build_project_wheel(root, target))
    return next(directory.glob("*.whl"))


def build_project_wheel(root: Path, target: Path) -> None:
    """Build the wheel of a copy of the sources, in a clean environment, into `target`."""
    require_packages(find_missing_for_build())
    lwip = open_lwip()
    with step("building the project's wheel"):
        sources = target / "sources"
        for path in list_inputs(root):
            copy = sources / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        wheel = [*open_pip(), "wheel", "--no-deps", "-w", str(target), str(sources)]
        run_pip(wheel, LIGHTVM_LWIP=str(lwip))
        shutil.rmtree(sources)
    names = [path.name for path in target.glob("*.whl")]
    if len(names) != 1 or not ("-abi3-" in names[0] or names[0].endswith("-none-any.whl")):
        raise LabError("bad-wheel", f"expected one wheel for the stable ABI, got {names}")


def find_missing_for_build() -> list[str]:
    """Return the Debian packages that building the wheel still needs on this machine."""
    missing = []
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        missing.append("python3-dev")
    if find_spec("ensurepip") is None:
        missing.append("python3-venv")
    if not Path("/usr/include/xencall.h").exists():
        missing.append("libxen-dev")
    if shutil.which("gcc") is None:
        missing.append("gcc")
    return missing


def open_dependencies(suite: Suite, wheel: Path) -> Path:
    """Return a directory with the wheels of all that `wheel` depends on, for the suite's Python."""
    wanted = sorted(list_requirements(read_metadata(wheel)))
    key = f"dependencies-{suite.name}-{hash_inputs(repr(suite), *wanted)}"
    return build_once("wheels", key, lambda target: fetch_dependencies(suite, wheel, target))


def fetch_dependencies(suite: Suite, wheel: Path, target: Path) -> None:
    """Download the dependencies' wheels into `target`; make those that exist as source only."""
    provided = read_metadata(wheel)
    extras = ",".join(extra for extra in EXTRAS if f"Provides-Extra: {extra}\n" in provided)
    project = f"{wheel}[{extras}]" if extras else str(wheel)
    pip = open_pip()
    download = [*pip, "download", "-d", str(target), project]
    download += platform_options(suite)
    with step(f"fetching wheels for {suite.name}"):
        try:
            run_pip(download)
        except LabError:
            # Something has no wheel for that Python.  Pure Python builds anywhere, once.
            made = target / "made"
            run_pip([*pip, "wheel", "--prefer-binary", "-w", str(made), project])
            for compiled in [p for p in made.iterdir() if not p.name.endswith("-none-any.whl")]:
                compiled.unlink()
            run_pip([*download, f"--find-links={made}"])
            shutil.rmtree(made)
    (target / wheel.name).unlink(missing_ok=True)


def platform_options(suite: Suite) -> list[str]:
    """Return the options that make pip choose wheels for the suite, not for this machine."""
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={suite.python}"]
    options += [f"--abi={abi}" for abi in (f"cp{suite.python.replace('.', '')}", "abi3", "none")]
    return options + [f"--platform={tag}" for tag in platform_tags(suite)]


def platform_tags(suite: Suite) -> list[str]:
    """Return the wheel platforms that run on the suite's C library."""
    versions = range(suite.glibc_minor, 4, -1)
    return [
        *(f"manylinux_2_{minor}_x86_64" for minor in versions),
        *(f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")),
        "linux_x86_64",
    ]


def check_glibc(wheel: Path, suite: Suite) -> None:
    """Refuse a wheel whose machine code asks for a newer C library than the suite has."""
    with zipfile.ZipFile(wheel) as archive:
        code = b"".join(archive.read(name) for name in archive.namelist() if MACHINE_CODE(name))
    needed = max((int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", code)), default=0)
    if needed > suite.glibc_minor:
        raise LabError(
            "glibc-too-new",
            f"{wheel.name} needs glibc 2.{needed}, {suite.name} has 2.{suite.glibc_minor}",
        )


def read_metadata(wheel: Path) -> str:
    """Return the METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


def list_requirements(metadata: str) -> list[str]:
    """Return what a wheel says that it depends on, with the extras of a lab."""
    lines = metadata.partition("\n\n")[0].splitlines()
    wanted = [line for line in lines if line.startswith("Requires-Dist:")]
    other = re.compile(rf"extra == ['\"](?!(?:{'|'.join(EXTRAS)})['\"])")
    return [line for line in wanted if not other.search(line)]


def open_pip() -> list[str]:
    """Return the command of a pip in a clean environment of its own, made once."""
    key = f"pip-{hash_inputs(sys.version, sys.executable)}"
    return pip_command(build_once("wheels", key, make_pip))


def make_pip(venv: Path) -> list[str]:
    """Make a clean virtual environment in `venv`; return the command that runs its pip."""
    require_packages(["python3-venv"] if find_spec("ensurepip") is None else [])
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, timeout=300
    )
    if made.returncode != 0:
        raise LabError("venv-failed", " | ".join((made.stderr or made.stdout).splitlines()[-2:]))
    return pip_command(venv)


def pip_command(venv: Path) -> list[str]:
    """Return the command that runs the pip of `venv`."""
    return [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]


def run_pip(command: list[str], **variables: str) -> None:
    """Run pip, whose complaint becomes the error, with some more variables in its environment."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PIP_PATIENCE,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables,
        )
    except subprocess.TimeoutExpired:
        raise LabError("timeout", f"pip took over {PIP_PATIENCE:.0f} s") from None
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines()]
        errors = [line for line in lines if "error" in line.lower()] or lines
        raise LabError("pip-failed", " | ".join(errors[:3]) or f"pip ended {done.returncode}")
