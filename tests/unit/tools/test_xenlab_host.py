"""What the lab finds out about the machine it runs on."""

from __future__ import annotations

import pytest
from xenlab import host
from xenlab.errors import LabError
from xenlab.host import choose_archives, require_programs

TARGETS = """\
http://security.example/debian-security/ bookworm-security main
http://other.example/apt stable main
http://mirror.example/debian/ bookworm-updates main
http://mirror.example/debian/ bookworm contrib
http://mirror.example/debian/ bookworm main
"""


def test_the_archive_and_its_security_updates_are_found():
    assert choose_archives(TARGETS) == (
        "http://mirror.example/debian/",
        "http://security.example/debian-security/",
    )


def test_an_archive_alone_is_enough():
    assert choose_archives("file:/srv/debian/ trixie main\n") == ("file:/srv/debian/", None)


@pytest.mark.parametrize("text", ["", "\n", "http://x.example/apt nodistro main\n", "one two\n"])
def test_foreign_sources_are_no_debian_archive(text):
    assert choose_archives(text) is None


def test_a_missing_program_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as caught:
        require_programs({"no-such-program": "some-package", "sh": "dash"})
    assert caught.value.code == "missing-package"
    assert "sudo apt-get install -y --no-install-recommends some-package" in str(caught.value)
    assert "dash" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_root_installs_a_missing_program(monkeypatch):
    ran = []

    def run(command, **options):
        ran.append(command)
        return host.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(host.os, "geteuid", lambda: 0)
    monkeypatch.setattr(host.subprocess, "run", run)
    require_programs({"no-such-program": "some-package"})
    install = ["apt-get", "install", "-y", "--no-install-recommends", "some-package"]
    assert ran == [[*install, "-o", "DPkg::Lock::Timeout=600"]]


def test_a_failed_installation_is_one_line(monkeypatch):
    def run(command, **options):
        return host.subprocess.CompletedProcess(command, 100, "", "E: one\nE: two\n")

    monkeypatch.setattr(host.os, "geteuid", lambda: 0)
    monkeypatch.setattr(host.subprocess, "run", run)
    with pytest.raises(LabError) as caught:
        require_programs({"no-such-program": "some-package"})
    assert str(caught.value).endswith("E: two")
    assert caught.value.code == "install-failed"
