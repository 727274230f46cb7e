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


def bench_create(suite: str, live: list[int], per_step: int) -> dict[str, Any]:
    """Measure creates in a fresh lab; raises `LabError`."""
    with Lab(f"bench-{suite}", suite=suite) as lab:
        lab.install()
        return measure_create(lab, live, per_step)


def measure_create(lab: Lab, live: list[int], per_step: int) -> dict[str, Any]:
    """Measure creates in a running lab that has the project installed; raises `LabError`."""
    lab.run(f"rm -rf {IN_DOM0} && mkdir -p {IN_DOM0}", check=True)
    lab.push(HERE / "create.py", HERE / "fork_exec.c", to=f"{IN_DOM0}/")
    steps = " ".join(map(str, live))
    with step("measuring"):
        done = lab.run(
            f"{PYTHON} {IN_DOM0}/create.py --live {steps} --per-step {per_step}",
            check=True,
            timeout=PATIENCE,
        )
    try:
        results: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError as exc:
        raise LabError("bad-output", done.stdout[-200:]) from exc
    return results
