"""Guests of the package by their names, as the native ``lvm`` finds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightvm import calls
from tests.native_lvm import Installed
from tests.unit.samples import CREATED
from tests.unit.scripted import ScriptedDaemon, answering


def add_guest(installed: Installed, version: str, packages: str, name: str = "noop") -> Path:
    """Add a guest below the folder of a version of Python, beside the program."""
    guests = installed.folder.parent / "lib" / version / packages / "lightvm" / "guests"
    guests.mkdir(parents=True, exist_ok=True)
    guest = guests / name
    guest.touch()
    return guest


def image_of(installed: Installed, tmp_path: Path, *, cwd: Path, **more: str) -> str:
    """Return which image is asked for by ``create noop``."""
    path = tmp_path / "sock"
    with ScriptedDaemon(path, answering(Create=calls.CreateReply(created=CREATED))) as daemon:
        done = installed.run("create", "noop", "--socket", daemon.path, cwd=cwd, **more)
    path.unlink()
    assert done.code == 0
    (call,) = daemon.calls
    image: str = json.loads(bytes(call.parameters))["request"]["image"]
    return image


@pytest.mark.parametrize("packages", ["site-packages", "dist-packages"])
def test_guest_is_found_beside_the_program_behind_any_link(
    installed: Installed, tmp_path: Path, packages: str
) -> None:
    guest = add_guest(installed, "python3.11", packages)
    assert image_of(installed, tmp_path, cwd=tmp_path) == str(guest)
    link = tmp_path / "link"
    link.symlink_to(installed.lvm)
    program = installed.lvm
    installed.lvm = link
    assert image_of(installed, tmp_path, cwd=tmp_path) == str(guest)
    installed.lvm = program
    assert installed.taken_over() == []


def test_file_of_that_name_comes_first(installed: Installed, tmp_path: Path) -> None:
    add_guest(installed, "python3.11", "site-packages")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "noop").touch()
    assert image_of(installed, tmp_path, cwd=folder) == str(folder / "noop")


def test_what_only_python_knows_is_left_to_it(installed: Installed, tmp_path: Path) -> None:
    image_of(installed, tmp_path, cwd=tmp_path)
    assert len(installed.taken_over()) == 1  # none there
    add_guest(installed, "python3.11", "site-packages")
    image_of(installed, tmp_path, cwd=tmp_path, PYTHONPATH="/elsewhere")
    assert len(installed.taken_over()) == 1
    add_guest(installed, "python3.12", "site-packages")
    image_of(installed, tmp_path, cwd=tmp_path)
    assert len(installed.taken_over()) == 1  # two there
