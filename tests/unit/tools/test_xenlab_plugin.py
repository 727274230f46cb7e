"""The pytest fixture: one lab for a session, and its logs when a test fails."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import importlib

import pytest

# By its full name: each session in this process imports the plugin anew.
pytest_plugin = importlib.import_module("xenlab.pytest_plugin")

class FakeLab:
    def __init__(self, name, *, suite):
        print(f"LAB UP {suite}")
    def __enter__(self):
        return self
    def __exit__(self, *exc):
        print("LAB DOWN")
    def collect(self, target):
        target.mkdir(parents=True)
        (target / "serial.log").write_text("the story")
        return ["xen: gone"]

pytest_plugin.Lab = FakeLab
pytest_plugins = ["xenlab.pytest_plugin"]
"""


@pytest.fixture
def session(pytester: pytest.Pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        def test_good(lab): pass
        def test_bad(lab): assert False
        def test_bad_elsewhere(): assert False
        """
    )
    return pytester


def test_the_logs_of_a_failure_are_saved_and_the_place_is_shown(session):
    result = session.runpytest_inprocess("-s", "--lab-suite=trixie", "--lab-artifacts=kept")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["*LAB UP trixie*", "*LAB DOWN*", "logs are in *kept*", "xen: gone"]
    )
    saved = [path for path in (session.path / "kept").rglob("*") if path.is_file()]
    assert [path.read_text() for path in saved] == ["the story"]
    assert "test_bad" in saved[0].parent.name


def test_one_lab_serves_the_whole_session(session):
    result = session.runpytest_inprocess("-s", "--lab-artifacts=kept")
    assert result.stdout.str().count("LAB UP bookworm") == 1


def test_a_session_that_needs_no_lab_starts_none(session):
    result = session.runpytest_inprocess("-s", "-k", "elsewhere", "--lab-artifacts=kept")
    assert "start bookworm" not in result.stdout.str()
    assert not (session.path / "kept").exists()
