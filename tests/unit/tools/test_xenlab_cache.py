"""The cache: whole results or none, one build at a time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from xenlab.cache import build_once, cache_root, find_built, hash_inputs, hold_lock, prune
from xenlab.errors import LabError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTVM_CACHE", str(tmp_path))
    return tmp_path


def test_the_cache_follows_the_xdg_directory_unless_told(monkeypatch):
    monkeypatch.delenv("LIGHTVM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_root() == Path("/somewhere/lightvm/lab")
    monkeypatch.setenv("LIGHTVM_CACHE", "/elsewhere")
    assert cache_root() == Path("/elsewhere")


def test_a_key_tells_apart_inputs_that_only_join_to_the_same_text():
    assert hash_inputs("ab", "c") != hash_inputs("a", "bc")
    assert hash_inputs("ab") == hash_inputs(b"ab")


def test_a_build_runs_once(cache):
    builds = []

    def build(target):
        builds.append(target)
        (target / "file").write_text("x")

    first = build_once("images", "key", build)
    assert build_once("images", "key", build) == first
    assert (first / "file").read_text() == "x"
    assert len(builds) == 1


def test_a_failed_build_leaves_nothing(cache):
    def build(target):
        (target / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once("images", "key", build)
    assert list((cache / "images").iterdir()) == []
    assert find_built("images", "key") is None


def test_the_rest_of_a_killed_build_is_removed(cache):
    stale = cache / "images" / "key.tmp-1"
    stale.mkdir(parents=True)
    build_once("images", "key", lambda target: None)
    assert not stale.exists()


def test_two_builders_of_one_key_build_once(cache):
    started, release, builds = threading.Event(), threading.Event(), []

    def build(target):
        builds.append(target)
        started.set()
        release.wait(5)

    one = threading.Thread(target=build_once, args=("images", "key", build))
    two = threading.Thread(target=build_once, args=("images", "key", build))
    one.start()
    started.wait(5)
    two.start()
    release.set()
    one.join(5)
    two.join(5)
    assert len(builds) == 1


def test_a_lock_that_stays_taken_is_an_error():
    with hold_lock("name"), pytest.raises(LabError) as caught, hold_lock("name", patience=0.0):
        pass
    assert caught.value.code == "busy"


def test_pruning_spares_what_was_used_today(cache):
    for age in range(10):
        path = cache / "images" / f"key{age}"
        path.mkdir(parents=True)
        used = time.time() - age * 3 * 86400
        os.utime(path, (used, used))
    prune("images")
    assert sorted(p.name for p in (cache / "images").iterdir()) == [f"key{age}" for age in range(6)]
    for path in (cache / "images").iterdir():
        os.utime(path)
    for more in range(6):
        (cache / "images" / f"new{more}").mkdir()
    prune("images")
    assert len(list((cache / "images").iterdir())) == 12
