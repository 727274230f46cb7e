"""The ``lvm`` command: whose verb is it? Asked of the native program, which hands over to Python's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import lightvm
from lightvm.cli import lvm
from lightvm.cli.verbs import VERBS
from tests.native_lvm import Installed, build_lvm, can_link_statically

Run = Callable[..., subprocess.CompletedProcess[str]]


def write_command(path: Path, text: str) -> None:
    """Write a command that can be run."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def our_lvm(installed: Installed) -> Path:
    """Install our ``lvm`` as an installer would do it."""
    return installed.lvm


@pytest.fixture
def run(tmp_path: Path, our_lvm: Path) -> Run:
    """Run our ``lvm``, found through a PATH of which it is the first folder."""

    def run_lvm(*args: str) -> subprocess.CompletedProcess[str]:
        folders = [our_lvm.parent, tmp_path / "lvm2", "/usr/bin", "/bin"]
        environment = {
            "PATH": os.pathsep.join(map(str, folders)),
            "LIGHTVM_SOCKET": str(tmp_path / "none"),
        }
        return subprocess.run(
            ["lvm", *args],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run_lvm


@pytest.fixture
def lvm2(tmp_path: Path) -> Path:
    """Install an ``lvm`` that tells how it was called, and exits with 5."""
    command = tmp_path / "lvm2" / "lvm"
    write_command(command, '#!/bin/sh\nprintf "LVM2"; printf " <%s>" "$@"\nexit 5\n')
    return command


@pytest.mark.usefixtures("lvm2")
@pytest.mark.parametrize(
    "args",
    [
        ("pvs",),
        ("vgcreate", "vg0", "/dev/sdb", "with space", ""),
        ("lvs", "--noheadings", "-o", "lv_name"),
        ("help",),
        ("--version",),
        ("--help",),
        ("-h",),
        ("version",),
        ("--socket", "/x", "list"),
        ("--config", "a=b", "list"),
    ],
)
def test_what_is_not_ours_goes_to_lvm2_unchanged(run: Run, args: tuple[str, ...]) -> None:
    done = run(*args)
    assert done.stdout == "LVM2" + "".join(f" <{arg}>" for arg in args)
    assert done.stderr == ""
    assert done.returncode == 5


def test_call_without_a_verb_goes_to_lvm2(run: Run, lvm2: Path) -> None:
    write_command(lvm2, '#!/bin/sh\necho "LVM2 $#"\n')
    assert run().stdout == "LVM2 0\n"


@pytest.mark.usefixtures("lvm2")
@pytest.mark.parametrize("verb", ["list", "flavors", "doctor"])
def test_verb_of_ours_is_ours(run: Run, verb: str) -> None:
    done = run(verb)
    assert done.stdout == ""
    assert done.stderr.startswith("lightvm: no-daemon: ")
    assert done.returncode == 3


@pytest.mark.usefixtures("lvm2")
def test_help_of_a_verb_of_ours_is_under_the_name_it_was_called_by(run: Run) -> None:
    assert run("create", "--help").stdout.startswith("usage: lvm create ")


def test_lvm2_gets_the_signals_that_python_ignores(run: Run, lvm2: Path) -> None:
    write_command(lvm2, "#!/bin/sh\ngrep SigIgn /proc/self/status\n")
    ignored = int(run("pvs").stdout.split()[1], 16)
    assert not ignored & (1 << 12)  # SIGPIPE
    assert not ignored & (1 << 24)  # SIGXFSZ


def test_another_installation_of_ours_is_passed_over(run: Run, lvm2: Path, our_lvm: Path) -> None:
    shutil.copy2(our_lvm, lvm2)
    done = run("pvs")
    assert done.returncode == 127


def test_shim_that_leads_back_is_tried_only_once(run: Run, lvm2: Path, our_lvm: Path) -> None:
    write_command(lvm2, f'#!/bin/sh\nexec {our_lvm} "$@"\n')
    done = run("pvs")
    assert done.returncode == 127


@pytest.mark.skipif(
    lvm.find_lvm2([], []) is not None, reason="LVM2 is installed, so there is something to find"
)
def test_without_lvm2_there_is_one_line_and_the_shells_exit_code(run: Run) -> None:
    done = run("pvs")
    assert done.stdout == ""
    assert done.stderr == (
        "lvm: this is for LVM2, which is not installed;"
        " for the verbs of LightVM see 'lightvm --help'\n"
    )
    assert done.returncode == 127


@pytest.mark.skipif(
    lvm.find_lvm2([], []) is not None, reason="LVM2 is installed, so the verb is its"
)
def test_version_is_ours_where_there_is_no_lvm2(run: Run) -> None:
    assert run("version").stdout.startswith(f"lightvm {lightvm.__version__}\n")


def test_first_lvm_in_the_path_is_taken(tmp_path: Path, our_lvm: Path) -> None:
    (tmp_path / "folder" / "lvm").mkdir(parents=True)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "lvm").touch(0o644)
    for name in ("first", "second"):
        write_command(tmp_path / name / "lvm", "#!/bin/sh\n")
    path = [our_lvm.parent, *(tmp_path / n for n in ("folder", "plain", "none", "first", "second"))]
    assert lvm.find_lvm2([*map(str, path)], []) == str(tmp_path / "first" / "lvm")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("-static",), ("-static", "-s")], ids=" ".join)
def test_program_is_known_by_its_first_page_however_it_is_linked(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    if "-static" in flags and not can_link_statically(tmp_path / "empty"):
        pytest.skip("there is no static C library")
    build_lvm(tmp_path / "lvm", "-O0", *flags)
    assert lvm.find_lvm2([str(tmp_path)], []) == lvm.find_lvm2([], [])


def test_lightvm_of_the_path_is_taken_where_there_is_none_beside(
    our_lvm: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (our_lvm.parent / "lightvm").rename(elsewhere / "lightvm")
    for folder, code in ((elsewhere, 0), (our_lvm.parent, 127)):
        done = subprocess.run(
            [our_lvm, "create", "--help"],
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code
    assert done.stderr == "lvm: lightvm cannot be run: No such file or directory\n"


def test_no_verb_of_ours_is_one_of_lvm2_except_version() -> None:
    lvm2_verbs = {
        *("config", "devtypes", "dumpconfig", "formats", "fullreport", "help", "lastlog"),
        *("lvchange", "lvconvert", "lvcreate", "lvdisplay", "lvextend", "lvmdiskscan"),
        *("lvmsadc", "lvmsar", "lvreduce", "lvremove", "lvrename", "lvresize", "lvs", "lvscan"),
        *("pvchange", "pvck", "pvcreate", "pvdata", "pvdisplay", "pvmove", "pvremove"),
        *("pvresize", "pvs", "pvscan", "segtypes", "systemid", "tags", "version"),
        *("vgcfgbackup", "vgcfgrestore", "vgchange", "vgck", "vgconvert", "vgcreate"),
        *("vgdisplay", "vgexport", "vgextend", "vgimport", "vgimportclone", "vgmerge"),
        *("vgmknodes", "vgreduce", "vgremove", "vgrename", "vgs", "vgscan", "vgsplit"),
    }
    assert lvm2_verbs & set(VERBS) == {"version"}
