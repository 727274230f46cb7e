"""Files into a lab and back, as one tar stream over the lab's connection."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from .errors import LabError
from .ssh import Ssh

PATIENCE = 600.0


def push(ssh: Ssh, sources: list[Path], target: str) -> None:
    """Copy `sources` into dom0's `target`, like cp -a: a directory if it is one or ends in /."""
    for source in sources:
        if not source.exists():
            raise LabError("no-such-file", f"{source} does not exist on this machine")
        pack = ["tar", "-C", str(source.resolve().parent), "-cf", "-", source.resolve().name]
        into_directory = len(sources) > 1 or target.endswith("/")
        unpack = unpack_line(source.resolve().name, target, into_directory=into_directory)
        pipe(pack, ssh.command(unpack), ssh, f"push {source}")


def pull(ssh: Ssh, sources: list[str], target: str) -> None:
    """Copy dom0's `sources` into the host's `target`, by the same rules."""
    for source in sources:
        name = source.rstrip("/").rpartition("/")[2]
        parent = source.rstrip("/").rpartition("/")[0] or ("/" if source.startswith("/") else ".")
        pack = shlex.join(["tar", "-C", parent, "-cf", "-", name])
        into_directory = len(sources) > 1 or target.endswith("/")
        unpack = unpack_line(name, os.path.abspath(target), into_directory=into_directory)
        pipe(ssh.command(pack), ["sh", "-c", unpack], ssh, f"pull {source}")


def unpack_line(name: str, target: str, *, into_directory: bool) -> str:
    """Return the shell line that unpacks a tar of `name`, at `target` or inside it."""
    goal = shlex.quote(target.rstrip("/") or "/")
    test = "true" if into_directory else f"[ -d {goal} ]"
    inner = shlex.quote(name)
    # Without a directory to go into, the file is unpacked beside its goal and takes its name.
    return (
        f"set -e; if {test}; then mkdir -p {goal}; exec tar -C {goal} --no-same-owner -xf -; fi; "
        f'up=$(dirname {goal}); mkdir -p "$up"; work=$(mktemp -d "$up/.lab-XXXXXX"); '
        f'trap \'rm -rf "$work"\' EXIT; tar -C "$work" --no-same-owner -xf -; '
        f'mv -T "$work"/{inner} {goal}'
    )


def pipe(first: list[str], second: list[str], ssh: Ssh, what: str) -> None:
    """Run `first | second` and raise `copy-failed` unless both succeed in time."""
    producer = subprocess.Popen(
        first,
        cwd=ssh.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        done = subprocess.run(
            second, cwd=ssh.directory, stdin=producer.stdout, capture_output=True, timeout=PATIENCE
        )
        if producer.stdout is not None:
            producer.stdout.close()
        complaint = producer.stderr.read() if producer.stderr is not None else b""
        failed = producer.wait(timeout=10) != 0 or done.returncode != 0
    except subprocess.TimeoutExpired:
        raise LabError("timeout", f"{what} took over {PATIENCE:.0f} s") from None
    finally:
        producer.kill()
        producer.wait()
    if failed:
        reason = (complaint + done.stderr).decode(errors="replace").strip().splitlines()
        raise LabError("copy-failed", f"{what}: {reason[0] if reason else 'the copy ended early'}")
