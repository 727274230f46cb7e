"""Installs the project in dom0's virtual environment, /opt/lightvm.

Programs run slowly under emulation: pip in dom0 would take minutes.  So pip lays the files out on
the host, and dom0 only unpacks them.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

from .cache import build_once, hash_inputs
from .errors import LabError
from .progress import step
from .ssh import Ssh
from .suites import Suite
from .wheels import (
    PROJECT,
    check_glibc,
    open_dependencies,
    open_pip,
    open_project_wheel,
    platform_options,
    run_pip,
)

# What is done in dom0 once the files are there: the one place to add to.
HOOKS = Path(__file__).with_name("after-install.sh")
HOME = "/opt/lightvm"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PATIENCE = 600.0

# Back to the empty environment that the image came with.
EMPTY = f"""
set -e
cd {HOME}
find lib/python3*/site-packages -mindepth 1 -maxdepth 1 ! -name 'pip*' ! -name 'setuptools*' \
    ! -name '_distutils_hack' ! -name 'distutils-precedence.pth' ! -name 'pkg_resources' \
    -exec rm -rf {{}} +
find bin -mindepth 1 ! -name 'python*' ! -name 'pip*' ! -iname 'activate*' -delete
rm -f .dependencies .project
"""


def install(ssh: Ssh, suite: Suite, image_key: str, root: Path = PROJECT) -> None:
    """Install the project as it is in the tree at `root` now; leave alone what dom0 has already."""
    wheel = open_project_wheel(root)
    check_glibc(wheel, suite)
    dependencies = open_dependencies(suite, wheel)
    wheels = sorted(dependencies.glob("*.whl"))
    key = f"{suite.name}-{hash_inputs(image_key, *(path.name for path in wheels))}"
    if read_mark(ssh, "dependencies") != key:
        tree = build_once("trees", key, lambda target: make_tree(ssh, suite, wheels, target))
        with step("dependencies"):
            unpack(ssh, EMPTY, (tree / "tree.tar").read_bytes())
            run(ssh, f"echo {key} > {HOME}/.dependencies")
    key = hash_inputs(wheel.read_bytes())
    if read_mark(ssh, "project") != key:
        layout = build_once(
            "trees",
            f"project-{suite.name}-{key}",
            lambda target: lay_out_project(wheel, suite, target),
        )
        with step("the project"):
            name = wheel.name.partition("-")[0]
            old = f"rm -rf {HOME}/lib/python3*/site-packages/{name} {HOME}/.project\n"
            old += f"rm -rf {HOME}/lib/python3*/site-packages/{name}-*.dist-info"
            unpack(ssh, old, (layout / "tree.tar").read_bytes())
            run(ssh, f"echo {key} > {HOME}/.project")
    # The hooks may have changed without the wheel.
    run(ssh, HOOKS.read_text(encoding="utf-8"))


def read_mark(ssh: Ssh, name: str) -> str:
    """Return the key of what dom0 has installed."""
    return run(ssh, f"cat {HOME}/.{name} 2>/dev/null || true").strip()


def make_tree(ssh: Ssh, suite: Suite, wheels: list[Path], target: Path) -> None:
    """Write `tree.tar`: the files of the dependencies, compiled for dom0's Python."""
    root = target / "root"
    packages = root / "lib" / f"python{suite.python}" / "site-packages"
    command = [*open_pip(), "install", "--no-index", "--no-deps", *compile_option(suite)]
    command += [*platform_options(suite), "--target", str(packages)]
    run_pip([*command, *(str(wheel) for wheel in wheels)])
    for tests in list(packages.rglob("_tests")):
        shutil.rmtree(tests)  # a third of all files, and used by nobody
    if (packages / "bin").exists():
        (packages / "bin").rename(root / "bin")
    pack(root, target / "tree.tar")
    if compile_option(suite):
        with step(f"compiling for Python {suite.python}, once per set of dependencies"):
            unpack(ssh, EMPTY, (target / "tree.tar").read_bytes())
            run(ssh, f"{HOME}/bin/python -m compileall -q {HOME}/lib || true")
            line = f"tar -C {HOME} --exclude='pip*' --exclude='setuptools*' -cf - bin lib"
            compiled = ssh.run(line, timeout=PATIENCE)
            (target / "tree.tar").write_bytes(compiled.stdout)


def lay_out_project(wheel: Path, suite: Suite, target: Path) -> None:
    """Write `tree.tar`: the files of the project, its data files included."""
    root = target / "root"
    command = [*open_pip(), "install", "--no-index", "--no-deps", *compile_option(suite)]
    run_pip([*command, "--ignore-installed", "--prefix", str(root), str(wheel)])
    if compile_option(suite):
        (root / "lib" / f"python{HERE}").rename(root / "lib" / f"python{suite.python}")
    pack(root, target / "tree.tar")


def compile_option(suite: Suite) -> list[str]:
    """Return what keeps pip from compiling, if this is not the version of Python for it."""
    return [] if suite.python == HERE else ["--no-compile"]


def pack(root: Path, tar: Path) -> None:
    """Move the files below `root` into `tar`, with scripts that start dom0's Python."""
    for script in (root / "bin").glob("*"):
        first, _, rest = script.read_bytes().partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            script.write_bytes(f"#!{HOME}/bin/python\n".encode() + rest)
    with tarfile.open(tar, "w") as archive:
        archive.add(root, arcname=".")
    shutil.rmtree(root)


def run(ssh: Ssh, script: str) -> str:
    """Run a script in dom0 and return what it printed, or raise `install-failed`."""
    done = ssh.run(script, timeout=PATIENCE)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise LabError("install-failed", " | ".join(lines[-3:]) or f"status {done.returncode}")
    return done.stdout.decode(errors="replace")


def unpack(ssh: Ssh, before: str, tree: bytes) -> None:
    """Run the script `before` in dom0, then unpack `tree` into the environment."""
    script = f"{before}\ntar -C {HOME} --no-same-owner -xf -"
    done = ssh.run(script, timeout=PATIENCE, data=tree)
    if done.returncode != 0:
        raise LabError("install-failed", done.stderr.decode(errors="replace").strip())
