"""``lightvmd``: exit statuses, one line for each failure, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lightvm import __version__
from lightvm.daemon import main as main_module
from lightvm.daemon.journal import read_journal
from lightvm.daemon.listen import lock_state
from lightvm.daemon.main import main
from lightvm.errors import UnsupportedXen
from lightvm.testing import FakeHypervisor


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with everything below a directory."""
    path = tmp_path / "lightvm.toml"
    path.write_text(
        f'[daemon]\nsocket = "{tmp_path}/sock"\nstate_dir = "{tmp_path}/state"\n'
        "[pool]\nmemory_floor_mib = 0\nyield_ms = 0\n[flavors.tiny]\nlow = 1\nhigh = 2\n"
    )
    return path


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    """What stands where Xen would; the log is left alone."""
    hypervisor = FakeHypervisor()
    binding = types.ModuleType("lightvm.xen.binding")
    binding.XenHypervisor = lambda: hypervisor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightvm.xen.binding", binding)
    monkeypatch.setattr(main_module, "_open_log", lambda config: None)
    return hypervisor


def stop_when_ready(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> list[str]:
    """Send a signal as soon as the daemon is ready; return what systemd was told."""
    told: list[str] = []

    def notify(message: str) -> None:
        told.append(message)
        if message == "READY=1":
            os.kill(os.getpid(), number)

    monkeypatch.setattr(main_module, "notify", notify)
    return told


def test_a_missing_default_configuration_is_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "lightvm.toml"
    monkeypatch.setattr("lightvm.daemon.config.DEFAULT_PATH", missing)
    monkeypatch.setattr("lightvm.daemon.main.DEFAULT_PATH", missing)
    assert main(["--check-config"]) == 0
    assert capsys.readouterr().out == f"{missing}: not there; the defaults hold\n"


def test_a_good_configuration_is_good(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "--check-config"]) == 0
    assert capsys.readouterr() == (f"{config}: good\n", "")


def test_a_bad_configuration_is_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[limits]\nbatch = 0\n")
    assert main(["--config", str(config), "--check-config"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lightvmd: bad-config: ")
    assert err.endswith(f"({config}: limits.batch)\n")
    assert err.count("\n") == 1


def test_a_missing_configuration_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == (
        f"lightvmd: bad-config: no such file ({tmp_path / 'none'})\n"
    )


@pytest.mark.parametrize("arguments", [["--nope"], ["extra"], ["--config"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: lightvmd" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"lightvmd {__version__}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_daemon_in_order(
    config: Path,
    hypervisor: FakeHypervisor,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    told = stop_when_ready(monkeypatch, number)
    assert main(["--config", str(config)]) == 0
    assert told == ["READY=1", "STOPPING=1"]
    assert hypervisor.closed
    assert not hypervisor.domains
    assert not (config.parent / "sock").exists()


def test_a_signal_during_the_start_stops_the_daemon_after_it(
    config: Path, hypervisor: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = stop_when_ready(monkeypatch, signal.SIGTERM)
    real = hypervisor._enter

    def enter(method: str) -> None:
        real(method)
        if method == "list_domains":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(hypervisor, "_enter", enter)
    monkeypatch.setattr(main_module, "notify", told.append)
    assert main(["--config", str(config)]) == 0
    assert told == ["READY=1", "STOPPING=1"]
    assert not read_journal(config.parent / "state" / "journal").shells


def test_without_xen_the_daemon_says_so(
    config: Path,
    hypervisor: FakeHypervisor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise UnsupportedXen("no Xen here", "open")

    monkeypatch.setattr(sys.modules["lightvm.xen.binding"], "XenHypervisor", fail)
    assert main(["--config", str(config)]) == 1
    assert capsys.readouterr().err == "lightvmd: unsupported-xen: no Xen here (open)\n"
    assert not (config.parent / "sock").exists()


def test_a_second_daemon_says_so(
    config: Path, hypervisor: FakeHypervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock_state(config.parent / "state"):
        assert main(["--config", str(config)]) == 1
    assert capsys.readouterr().err.startswith("lightvmd: already-running: ")


@pytest.mark.parametrize("what", ["xen", "journal"])
def test_a_failure_of_the_start_is_one_line(
    config: Path, hypervisor: FakeHypervisor, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    if what == "xen":
        hypervisor.fail("list_domains")
    else:
        (config.parent / "state" / "journal").mkdir(parents=True)
    assert main(["--config", str(config)]) == 1
    err = capsys.readouterr().err
    code = "hypercall-failed" if what == "xen" else "journal-failed"
    assert err.startswith(f"lightvmd: {code}: ")
    assert err.count("\n") == 1
    assert hypervisor.closed


def test_a_defect_is_not_hidden(
    config: Path, hypervisor: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(message: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module, "notify", fail)
    with pytest.raises(BaseExceptionGroup) as caught:
        main(["--config", str(config)])
    assert caught.group_contains(ZeroDivisionError)


PROGRAM = """
import sys, types
from lightvm.testing import FakeHypervisor
binding = types.ModuleType("lightvm.xen.binding")
binding.XenHypervisor = FakeHypervisor
sys.modules["lightvm.xen.binding"] = binding
from lightvm.daemon.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_whole_process_starts_logs_and_stops(config: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--config", str(config)],
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert systemd.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    lines = [json.loads(line) for line in err.splitlines()]
    assert all("level" in line and "timestamp" in line for line in lines)
    # Beside what is said of a host without XenStore.
    told = [line["event"] for line in lines if line["level"] == "info"]
    assert told == ["reconciled", "ready", "stopping"]
