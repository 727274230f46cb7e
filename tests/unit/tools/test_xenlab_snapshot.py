"""A boot that fails is tried once more, from nothing."""

import pytest
from xenlab import snapshot
from xenlab.errors import LabError


def boots(monkeypatch, *outcomes):
    tries = iter(outcomes)

    def take_once(image, shape, target):
        assert list(target.iterdir()) == []
        (target / "ram").touch()
        if error := next(tries):
            raise error

    monkeypatch.setattr(snapshot, "take_once", take_once)


def test_a_boot_that_fails_is_tried_once_more(monkeypatch, tmp_path):
    boots(monkeypatch, LabError("no-ssh", "no answer"), None)
    snapshot.take(None, None, tmp_path)
    assert (tmp_path / "ram").exists()


def test_a_boot_that_fails_twice_has_failed(monkeypatch, tmp_path):
    boots(monkeypatch, LabError("no-ssh", "no answer"), LabError("timeout", "no dom0"))
    with pytest.raises(LabError, match="no dom0"):
        snapshot.take(None, None, tmp_path)
