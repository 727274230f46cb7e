"""Installs the project in dom0.

pip runs there for real, but a program starts slowly under emulation (pip takes half a minute), so
each result is kept on the host as a tar of the environment, and the next lab just unpacks it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from .cache import build_once, hash_inputs
from .errors import LabError
from .progress import step
from .ssh import Ssh
from .suites import Suite
from .transfer import push
from .wheels import check_glibc, open_dependencies, open_project_wheel

# What is done in dom0 once the files are there: the one place to add to.
HOOKS = Path(__file__).with_name("after-install.sh")
HOME = "/opt/lightvm"
INSTALLED = f"{HOME}/.installed"
WHEELS = "/var/tmp/lightvm-wheels"
PATIENCE = 600.0

# Back to the empty environment that the image came with.
EMPTY = f"""
set -e
cd {HOME}
find lib/python3*/site-packages -mindepth 1 -maxdepth 1 ! -name 'pip*' ! -name 'setuptools*' \
    ! -name '_distutils_hack' ! -name 'distutils-precedence.pth' ! -name 'pkg_resources' \
    -exec rm -rf {{}} +
find bin -mindepth 1 ! -name 'python*' ! -name 'pip*' ! -iname 'activate*' -delete
rm -rf .installed {WHEELS}
"""
PACK = f"tar -C {HOME} --exclude='pip*' --exclude='setuptools*' -cf - ."
PIP = f"{HOME}/bin/python -m pip install -q --no-index --disable-pip-version-check"
QUIET = "--root-user-action=ignore"


def install(ssh: Ssh, suite: Suite, image_key: str) -> None:
    """Install the project as it is in the tree now; do nothing if dom0 has it already."""
    wheel = open_project_wheel()
    check_glibc(wheel, suite)
    dependencies = open_dependencies(suite, wheel)
    base_key = f"{suite.name}-base-{hash_inputs(image_key, dependencies.name)}"
    key = f"{suite.name}-{hash_inputs(base_key, wheel.read_bytes())}"

    def make_base(target: Path) -> None:
        with step("pip in dom0: dependencies, once"):
            run(ssh, EMPTY)
            push(ssh, [str(path) for path in sorted(dependencies.glob("*.whl"))], WHEELS)
            run(ssh, f"{PIP} {QUIET} {WHEELS}/*.whl")
            save(ssh, target / "tree.tar")

    def make(target: Path) -> None:
        base = build_once("trees", base_key, make_base)
        with step("pip in dom0: the project"):
            unpack(ssh, base / "tree.tar")
            push(ssh, [str(wheel)], f"{WHEELS}/")
            run(ssh, f"{PIP} {QUIET} --no-deps {WHEELS}/{wheel.name}")
            save(ssh, target / "tree.tar")

    if run(ssh, f"cat {INSTALLED} 2>/dev/null || true").strip() != key:
        tree = build_once("trees", key, make)
        with step("unpacking in dom0"):
            unpack(ssh, tree / "tree.tar")
    # The hooks may have changed without the wheel, and are cheap.
    run(ssh, HOOKS.read_text(encoding="utf-8"))
    run(ssh, f"echo {key} > {INSTALLED}")


def run(ssh: Ssh, script: str) -> str:
    """Run a script in dom0 and return what it printed, or raise `install-failed`."""
    done = ssh.run(script, timeout=PATIENCE)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise LabError("install-failed", " | ".join(lines[-3:]) or f"status {done.returncode}")
    return done.stdout.decode(errors="replace")


def save(ssh: Ssh, target: Path) -> None:
    """Keep the environment of dom0 as a tar on the host."""
    with target.open("wb") as sink:
        done = subprocess.run(
            ssh.command(PACK),
            cwd=ssh.directory,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )
    if done.returncode != 0:
        raise LabError("install-failed", done.stderr.decode(errors="replace").strip())


def unpack(ssh: Ssh, tree: Path) -> None:
    """Give dom0 the environment kept in `tree`, in place of the one it has."""
    with tree.open("rb") as source:
        done = ssh.run(f"{EMPTY}\ntar -C {HOME} -xf -", timeout=PATIENCE, stdin=source)
    if done.returncode != 0:
        raise LabError("install-failed", done.stderr.decode(errors="replace").strip())
