"""Files into a lab and back, as one tar stream over the lab's connection.

The rules are those of `cp -a`: a destination that is a directory, ends in / or has several sources
gets the copies inside; otherwise it is the copy's new name.  Owners are not carried over.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

from .errors import LabError
from .ssh import Ssh

PATIENCE = 600.0


def push(ssh: Ssh, sources: Sequence[str], target: str) -> None:
    """Copy the host's `sources` to dom0's `target`."""
    for source in sources:
        if not os.path.exists(source):
            raise LabError("no-such-file", f"{source} does not exist on this machine")
        path = os.path.abspath(source)
        inside = len(sources) > 1 or target.endswith("/")
        unpack = unpack_line(os.path.basename(path), target, inside=inside)
        pipe(["sh", "-c", pack_line(path)], ssh.command(unpack), ssh, f"push {source}")


def pull(ssh: Ssh, sources: Sequence[str], target: str) -> None:
    """Copy dom0's `sources` to the host's `target`."""
    for source in sources:
        path = source.rstrip("/")
        if not path:
            raise LabError("usage", "the whole of dom0 is too much to pull")
        inside = len(sources) > 1 or target.endswith("/")
        unpack = unpack_line(os.path.basename(path), os.path.abspath(target), inside=inside)
        pipe(ssh.command(pack_line(path)), ["sh", "-c", unpack], ssh, f"pull {source}")


def pack_line(path: str) -> str:
    """Return the shell line that writes a tar of `path`; a symbolic link there is followed."""
    parent, name = os.path.split(path)
    goal, parent, name = (shlex.quote(text) for text in (path, parent or ".", f"./{name}"))
    return (
        f"if [ -d {goal} ]; then exec tar -C {parent} -cf - {name}/.; "
        f"else exec tar -C {parent} -chf - {name}; fi"
    )


def unpack_line(name: str, target: str, *, inside: bool) -> str:
    """Return the shell line that unpacks a tar of `name` at `target`, or inside it."""
    goal = shlex.quote(target.rstrip("/") or "/")
    test = "true" if inside else f"[ -d {goal} ]"
    # Outside a directory, the copy is unpacked beside its goal and then takes its name in one go.
    return (
        f"set -e; if {test}; then mkdir -p {goal}; exec tar -C {goal} --no-same-owner -xf -; fi; "
        f'up=$(dirname {goal}); mkdir -p "$up"; work=$(mktemp -d "$up/.lab-XXXXXX"); '
        f'trap \'rm -rf "$work"\' EXIT; tar -C "$work" --no-same-owner -xf -; '
        f'mv -T "$work"/{shlex.quote(name)} {goal}'
    )


def pipe(first: list[str], second: list[str], ssh: Ssh, what: str) -> None:
    """Run `first | second` and raise `copy-failed` unless both succeed in time."""
    started: list[subprocess.Popen[bytes]] = []
    # A file takes the complaints of both, for a pipe that nobody reads could fill up.
    with tempfile.TemporaryFile() as complaints:
        try:
            source: IO[bytes] | int = subprocess.DEVNULL
            for command, sink in ((first, subprocess.PIPE), (second, subprocess.DEVNULL)):
                process = subprocess.Popen(
                    command,
                    cwd=ssh.directory if command[0] == "ssh" else None,
                    stdin=source,
                    stdout=sink,
                    stderr=complaints,
                )
                started.append(process)
                source = process.stdout or source
            if started[0].stdout is not None:
                # Only the reader may hold the pipe, or the writer would not notice its end.
                started[0].stdout.close()
            started[1].wait(timeout=PATIENCE)
            started[0].wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            raise LabError("timeout", f"{what} took over {PATIENCE:.0f} s") from None
        finally:
            for process in started:
                process.kill()
                process.wait()
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").strip().splitlines()
    if any(process.returncode != 0 for process in started):
        raise LabError("copy-failed", f"{what}: {lines[0] if lines else 'it ended early'}")
