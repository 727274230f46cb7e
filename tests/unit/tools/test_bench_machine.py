"""What a run's machine says of itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from benchmarks import machine

HEAD = "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n"
VCPU = "Domain-0                             0     {vcpu}    0   r--     718.3  {hard} / all\n"


@pytest.fixture
def anew() -> Iterator[None]:
    """Nothing is known of the machine, before and after."""
    machine.guest_cpus.cache_clear()
    yield
    machine.guest_cpus.cache_clear()


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("hard", "processors", "expected"),
    [
        (["0"], 2, "all,^0"),
        (["0", "0"], 4, "all,^0"),
        (["0"], 1, "all"),
        (["all"], 2, "all"),
        (["0", "1"], 4, "all"),
        (["0-1"], 4, "all"),
    ],
)
def test_guests_are_kept_from_the_processor_that_is_dom0s_alone(
    monkeypatch: pytest.MonkeyPatch, hard: list[str], processors: int, expected: str
) -> None:
    said = {
        "vcpu-list": HEAD + "".join(VCPU.format(vcpu=i, hard=h) for i, h in enumerate(hard)),
        "info": f"host                   : lab\nnr_cpus                : {processors}\n",
    }

    def run(line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(line, 0, said[line[1]], "")

    monkeypatch.setattr(machine.subprocess, "run", run)
    assert machine.guest_cpus() == expected
