"""Wheels for dom0: which sources count, and which wheels fit."""

from __future__ import annotations

import tarfile
import zipfile

import pytest
from xenlab import install
from xenlab.errors import LabError
from xenlab.suites import find_suite
from xenlab.wheels import (
    check_glibc,
    hash_project,
    list_inputs,
    list_requirements,
    platform_options,
)

BOOKWORM = find_suite("bookworm")
METADATA = """\
Metadata-Version: 2.4
Name: lightvm
Requires-Dist: msgspec>=0.18
Provides-Extra: daemon
Requires-Dist: cffi>=1.15; extra == "daemon"
Provides-Extra: docs
Requires-Dist: sphinx; extra == "docs"

Requires-Dist: not-a-header
"""


def make_wheel(path, code, name="lightvm/_native.abi3.so"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, code)
    return path


def test_only_what_a_wheel_is_made_of_counts(tmp_path):
    for name in ("pyproject.toml", "lightvm/a.py", "native/src/a.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("tests/a.py", "docs/a.md", ".git/HEAD", "lightvm/__pycache__/a.pyc", "build/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "lightvm/_native.abi3.so").touch()
    found = [str(path.relative_to(tmp_path)) for path in list_inputs(tmp_path)]
    assert found == ["lightvm/a.py", "native/src/a.c", "pyproject.toml"]


def test_the_requirements_of_other_extras_do_not_count():
    assert list_requirements(METADATA) == [
        "Requires-Dist: msgspec>=0.18",
        'Requires-Dist: cffi>=1.15; extra == "daemon"',
    ]


def test_wheels_are_chosen_for_the_python_and_libc_of_dom0():
    options = platform_options(BOOKWORM)
    assert "--python-version=3.11" in options
    assert "--platform=manylinux_2_36_x86_64" in options
    assert "--platform=manylinux_2_37_x86_64" not in options
    assert "--platform=manylinux2014_x86_64" in options
    assert "--abi=abi3" in options
    assert "--abi=cp313" in platform_options(find_suite("trixie"))


def test_a_wheel_for_a_newer_libc_is_refused(tmp_path):
    check_glibc(make_wheel(tmp_path / "old.whl", b"\0GLIBC_2.2.5\0GLIBC_2.36\0"), BOOKWORM)
    check_glibc(make_wheel(tmp_path / "pure.whl", b""), BOOKWORM)
    with pytest.raises(LabError) as caught:
        check_glibc(make_wheel(tmp_path / "new.whl", b"\0GLIBC_2.2.5\0GLIBC_2.38\0"), BOOKWORM)
    assert caught.value.code == "glibc-too-new"


def test_programs_are_machine_code_too(tmp_path):
    name = "lightvm-0.1.0.data/scripts/lvm"
    with pytest.raises(LabError):
        check_glibc(make_wheel(tmp_path / "new.whl", b"\x7fELF\0GLIBC_2.38\0", name), BOOKWORM)


def test_scripts_start_the_python_of_dom0(tmp_path):
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "tool").write_text("#!/host/venv/bin/python\nimport sys\n")
    (root / "bin" / "plain").write_text("#!/bin/sh\nexit\n")
    (root / "bin" / "program").write_bytes(b"\x7fELF\xff\n\0")
    install.pack(root, tmp_path / "tree.tar")
    with tarfile.open(tmp_path / "tree.tar") as archive:
        archive.extractall(tmp_path / "out", filter="data")
    assert (tmp_path / "out/bin/tool").read_text() == "#!/opt/lightvm/bin/python\nimport sys\n"
    assert (tmp_path / "out/bin/plain").read_text() == "#!/bin/sh\nexit\n"
    assert (tmp_path / "out/bin/program").read_bytes() == b"\x7fELF\xff\n\0"
    assert not root.exists()


def test_the_same_sources_have_the_same_key_wherever_they_lie(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "lightvm").mkdir(parents=True)
        (tmp_path / name / "lightvm" / "module.py").write_text("x = 1\n")
    assert hash_project(tmp_path / "one") == hash_project(tmp_path / "two")
    (tmp_path / "two" / "lightvm" / "module.py").write_text("x = 2\n")
    assert hash_project(tmp_path / "one") != hash_project(tmp_path / "two")
