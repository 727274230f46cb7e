"""The layers of tests, from the quickest to those on real Xen."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from xenlab.cache import cache_root
from xenlab.errors import LabError
from xenlab.guests import open_guests
from xenlab.lab import Lab
from xenlab.progress import step
from xenlab.suites import find_suite

from .ahead import make_labs_ahead
from .environment import CLANG_FORMAT, ROOT, open_environment, run

IN_DOM0 = "/opt/lightvm-tests"
DOM0_SECONDS = 3600
HANGS = ("-o", "faulthandler_timeout=900")
"""On a machine that emulates slowly, a test may take longer than anything would here."""
DOM0_PYTHON = "/opt/lightvm/bin/python"
GARBAGE = "MALLOC_PERTURB_=85"
"""glibc fills memory with garbage when it is given back, so what is used after that is seen to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: what it is for, and how it is run. `work` returns an exit status.

    A `named_only` layer is left out where no layer is named. `suite` is of the lab that it needs.
    """

    name: str
    about: str
    work: Callable[[], int]
    named_only: bool = False
    suite: str | None = None


def check() -> int:
    """Lint, format and types, as `tools/check` does."""
    python = open_environment()
    sources = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "native").rglob("*.[ch]"))
    status = run(python, "-m", "ruff", "check", ".")
    status |= run(python, "-m", "ruff", "format", "--check", ".")
    status |= run(python, "-m", "mypy")
    status |= run(python, *CLANG_FORMAT, "--dry-run", "-Werror", *sources)
    return status


def pytest_layer(*paths: str) -> Callable[[], int]:
    """Return a layer that runs pytest here."""

    def work() -> int:
        return run(open_environment(), "-m", "pytest", *paths)

    return work


def lab_layer(
    suite: str, *arguments: str, guests: bool = False, linux: bool = False
) -> Callable[[], int]:
    """Return a layer that runs pytest in the dom0 of a lab of that suite, in one interpreter.

    With `guests` there is a drive with unmodified guests. A `linux` guest needs a thread for each processor, and
    unikernels one for all (`docs/lab.md`).
    """
    one_thread = not (linux or guests)

    def work() -> int:
        name = f"test-{suite}"
        drive = open_guests(find_suite(suite)) if guests else None
        with Lab(name, suite=suite, one_thread=one_thread) as lab:
            if drive is not None:
                lab.attach(drive)
            return run_in_dom0(lab, *arguments)

    return work


def run_in_dom0(lab: Lab, *arguments: str) -> int:
    """Install the project and its tests in a lab and run pytest there; keep the logs of a failure."""
    lab.install()
    with step("copying the tests"):
        lab.run(f"rm -rf {IN_DOM0} && mkdir -p {IN_DOM0}", check=True)
        needed = ("tests", "pyproject.toml", "native", "packaging")
        lab.push(*(ROOT / name for name in needed), to=f"{IN_DOM0}/")
    command = (
        f"cd {IN_DOM0} && {GARBAGE} timeout {DOM0_SECONDS} {DOM0_PYTHON} -m pytest"
        f" {' '.join((*HANGS, *arguments))}"
    )
    ssh = lab.ssh
    status = subprocess.run(
        ssh.command(command), cwd=ssh.directory, stdin=subprocess.DEVNULL, check=False
    ).returncode
    if status:
        where = cache_root() / "artifacts" / f"{lab.name}-{int(time.time())}"
        missing = lab.collect(where)
        print(f"logs of {lab.name} are in {where}", *missing, sep="\n")
    return status


LAYERS = (
    Layer(name="check", about="lint, format, types", work=check),
    Layer(name="unit", about="every module by itself", work=pytest_layer("tests/unit")),
    Layer(name="contract", about="the seam, over the fake", work=pytest_layer("tests/contract")),
    Layer(name="cancel", about="faults and cancellation", work=pytest_layer("tests/cancel")),
    Layer(
        name="stateful",
        about="random operations against a model",
        work=pytest_layer("tests/stateful"),
    ),
    Layer(name="native", about="the C engine under sanitizers", work=pytest_layer("tests/native")),
    Layer(
        name="lab",
        about="on real Xen: bookworm, Xen 4.17",
        suite="bookworm",
        work=lab_layer(
            "bookworm",
            "tests/contract",
            "tests/lab",
            "tests/unit/daemon/net/test_quiet.py",
            "--hypervisor=xen",
            "-m",
            "'not scale and not guests and not linux'",
        ),
    ),
    Layer(
        name="lab-linux",
        about="a Linux on real Xen: bookworm; in a lab of its own",
        suite="bookworm",
        work=lab_layer("bookworm", "tests/lab", "-m", "linux", linux=True),
    ),
    Layer(
        name="lab-trixie",
        about="smoke on real Xen: trixie, Xen 4.20",
        suite="trixie",
        work=lab_layer(
            "trixie",
            "tests/contract",
            "tests/lab",
            "--hypervisor=xen",
            "-m",
            "'smoke and not scale'",
        ),
    ),
    Layer(
        name="power-cut",
        about="a power cut of a lab while a guest writes; boots twice, and is run where it is named",
        work=pytest_layer("-p", "xenlab.pytest_plugin", "-s", "tests/power_cut"),
        named_only=True,
    ),
    *(
        Layer(
            name=name,
            about=f"Debian's guests under LightVM and xl: {suite}; takes minutes, and is run where it is named",
            work=lab_layer(suite, "tests/lab", "-m", "guests", "-s", guests=True),
            named_only=True,
        )
        for name, suite in (("guests", "bookworm"), ("guests-trixie", "trixie"))
    ),
    *(
        Layer(
            name=f"{name}{'' if suite == 'bookworm' else f'-{suite}'}",
            about=f"{about} on real Xen: {suite}; takes long, and is run where it is named",
            work=lab_layer(suite, *files, "-m", "scale", "-s", "-o", "faulthandler_timeout=3600"),
            named_only=True,
        )
        for name, about, files in (
            ("scale", "hundreds of guests", ("tests/lab/test_jit.py", "tests/lab/test_scale.py")),
            (
                "beside-xl",
                "the same from LightVM and xl",
                ("tests/lab/test_neighbours.py", "tests/lab/test_same_configurations.py"),
            ),
        )
        for suite in ("bookworm", "trixie")
    ),
)


def run_layers(names: list[str]) -> int:
    """Run the named layers, all where none is named; say at the end what became of each."""
    wanted = [layer for layer in LAYERS if (layer.name in names if names else not layer.named_only)]
    outcomes: dict[str, str] = {}
    # The first layer makes its own, and shows how that goes on.
    make_labs_ahead([layer.suite for layer in wanted[1:] if layer.suite])
    for layer in wanted:
        print(f"=== {layer.name}: {layer.about}", flush=True)
        try:
            outcomes[layer.name] = "passed" if layer.work() == 0 else "FAILED"
        except LabError as exc:
            outcomes[layer.name] = f"FAILED ({exc})"
    print("=== layers")
    for layer in LAYERS:
        print(f"{layer.name:16} {outcomes.get(layer.name, 'skipped: not asked for')}")
    failed = sum(outcome != "passed" for outcome in outcomes.values())
    print(f"layers: {len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0
