"""The ``lvm`` command: LightVM's verbs, and LVM2 for everything else.

``lvm`` is LVM2's own command on most hosts, and scripts rely on it. So only a command line that
starts with a verb of ours is ours; any other goes to LVM2's binary as it is. ``version`` is a verb
of both: LVM2 has it where it is installed.

The command that an installer puts into the path is ``native/client``, which does the plain forms of a
few verbs by itself, and hands everything else to this module (`lightvm.cli.main.AS_LVM`).
"""

from __future__ import annotations

import os
import sys

from lightvm.cli.verbs import VERBS

NOT_FOUND = 127
"""Exit code where LVM2 is not installed, as a shell has it for a missing command."""

_SHARED = ("version",)
_USUAL = ("/sbin", "/usr/sbin")
_MARK = b"lightvm.cli.lvm"  # a script imports it, and the native program has it in an ELF note
_TRIED = "LIGHTVM_LVM_TRIED"


def main(argv: list[str]) -> int:
    """Run our verb, or become LVM2's ``lvm``."""
    ours = bool(argv) and argv[0] in VERBS
    if not ours or argv[0] in _SHARED:
        tried = _tried()
        other = find_lvm2(os.environ.get("PATH", os.defpath).split(os.pathsep), tried)
        if other is not None:
            _become(other, argv, tried)
        if not ours:
            print(
                "lvm: this is for LVM2, which is not installed;"
                " for the verbs of LightVM see 'lightvm --help'",
                file=sys.stderr,
            )
            return NOT_FOUND

    from lightvm.cli.main import main as lightvm_main

    return lightvm_main(argv, "lvm")


def find_lvm2(path: list[str], tried: list[str]) -> str | None:
    """Return the first ``lvm`` in the folders of `path` that is not LightVM's, or None.

    LVM2's usual folders come last, since an ordinary user's path often lacks them. `tried` are
    those that are known to lead nowhere.
    """
    for folder in (*path, *_USUAL):
        candidate = os.path.join(os.path.abspath(folder or os.curdir), "lvm")
        if not os.access(candidate, os.X_OK) or not os.path.isfile(candidate):
            continue
        if candidate not in tried and _MARK not in _head(candidate):
            return candidate
    return None


def _head(file: str) -> bytes:
    """Return the start of a file: enough to know a command that an installer made for LightVM."""
    try:
        with open(file, "rb") as opened:
            return opened.read(4096)
    except OSError:
        return b""  # may be run but not read: none of ours


def _become(binary: str, argv: list[str], tried: list[str]) -> None:
    """Run LVM2 in the place of this process.

    A script may be a version manager's shim that leads back here, so it is told to whoever comes
    next in this process that it was tried.
    """
    import signal

    if not _head(binary).startswith(b"\x7fELF"):
        os.environ[_TRIED] = os.pathsep.join([str(os.getpid()), *tried, binary])
    # Python ignores these two, and an ignored signal stays ignored in the next program
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execv(binary, ["lvm", *argv])  # noqa: S606 (handing over unchanged is the point)


def _tried() -> list[str]:
    pid, *tried = os.environ.pop(_TRIED, "").split(os.pathsep)
    return tried if pid == str(os.getpid()) else []
