"""Runs the benchmarks in a lab's dom0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xenlab.errors import LabError
from xenlab.lab import Lab
from xenlab.progress import step

HERE = Path(__file__).parent
IN_DOM0 = "/opt/lightvm-bench"
PYTHON = "/opt/lightvm/bin/python"
PATIENCE = 3000.0


def bench_network(suite: str, per_step: int) -> dict[str, Any]:
    """Measure creates with and without a vif in a fresh lab; raises `LabError`."""
    with Lab(f"bench-{suite}", suite=suite) as lab:
        lab.install()
        return measure_network(lab, per_step)


def measure_network(lab: Lab, per_step: int) -> dict[str, Any]:
    """Measure creates with and without a vif in a running lab that has the project installed."""
    return _run(lab, f"network --per-step {per_step}")


def bench_modes(suite: str, per_step: int) -> dict[str, Any]:
    """Measure the five toolstacks in a fresh lab; raises `LabError`."""
    with Lab(f"bench-{suite}", suite=suite) as lab:
        lab.install()
        return _run(lab, f"modes --per-step {per_step}")


def bench_echo(suite: str) -> dict[str, Any]:
    """Measure TCP to a unikernel and to a Linux guest in a fresh lab; raises `LabError`."""
    with Lab(f"bench-{suite}", suite=suite) as lab:
        lab.install()
        return _run(lab, "echo")


def bench_create(suite: str, live: list[int], per_step: int) -> dict[str, Any]:
    """Measure creates in a fresh lab; raises `LabError`."""
    with Lab(f"bench-{suite}", suite=suite) as lab:
        lab.install()
        return measure_create(lab, live, per_step)


def measure_create(lab: Lab, live: list[int], per_step: int) -> dict[str, Any]:
    """Measure creates in a running lab that has the project installed; raises `LabError`."""
    steps = " ".join(map(str, live))
    return _run(lab, f"create --live {steps} --per-step {per_step}")


def _run(lab: Lab, command: str) -> dict[str, Any]:
    package = f"{IN_DOM0}/benchmarks"
    lab.run(f"rm -rf {IN_DOM0} && mkdir -p {package}", check=True)
    lab.push(*HERE.glob("*.py"), *HERE.glob("*.c"), to=f"{package}/")
    with step("measuring"):
        done = lab.run(
            f"cd {IN_DOM0} && {PYTHON} -m benchmarks.{command}", check=True, timeout=PATIENCE
        )
    try:
        results: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError as exc:
        raise LabError("bad-output", done.stdout[-200:]) from exc
    return results
