"""The rule that has udev do nothing for a vif, which the package brings."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.daemon import eventually

RULE = Path(__file__).parents[2] / "packaging/udev/10-lightvm-vif.rules"
RULES = Path("/run/udev/rules.d")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout + done.stderr


@pytest.fixture
def rule() -> Iterator[None]:
    RULES.mkdir(parents=True, exist_ok=True)
    installed = Path(shutil.copy(RULE, RULES))
    run("udevadm", "control", "--reload")
    yield
    installed.unlink()
    run("udevadm", "control", "--reload")


@pytest.fixture(params=["vif99999.0", "other0"])
def interface(request: pytest.FixtureRequest, rule: None) -> Iterator[str]:
    name: str = request.param
    run("ip", "link", "add", name, "type", "dummy")
    run("udevadm", "settle")
    yield name
    run("ip", "link", "delete", name)


def test_udev_starts_no_programs_for_a_vif_and_systemd_makes_no_unit(interface: str) -> None:
    other = interface == "other0"

    def has_unit() -> bool:
        units = run("systemctl", "list-units", "--all", "--type=device", "--plain")
        return f"sys-subsystem-net-devices-{interface}.device" in units

    eventually(lambda: has_unit() == other, f"a unit: {other}")
    planned = run("udevadm", "test", f"/sys/class/net/{interface}")
    assert ("systemd-sysctl" in planned) == other
