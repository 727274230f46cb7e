"""The cache outside the tree: where things lie, and how they get there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError
from .progress import say

LOCK_PATIENCE = 3600.0

# How many of each kind stay; what was used within the last day stays in any case.
KEEP = {"images": 6, "snapshots": 6, "wheels": 20, "trees": 20, "environments": 2}
KEEP_SECONDS = 86400.0


def cache_root() -> Path:
    """Return the directory that holds images, snapshots, wheels and running labs."""
    chosen = os.environ.get("LIGHTVM_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "lightvm" / "lab"


def hash_inputs(*inputs: str | bytes) -> str:
    """Return a short key that changes whenever one of the inputs does."""
    digest = hashlib.sha256()
    for item in inputs:
        data = item.encode() if isinstance(item, str) else item
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]


@contextmanager
def hold_lock(name: str, *, patience: float = LOCK_PATIENCE, waiting: str = "") -> Iterator[None]:
    """Hold the lock `name` of this cache; raise `busy` after `patience` seconds.

    `waiting` is told to the user, once, when somebody else holds the lock.
    """
    directory = cache_root() / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + patience
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if waiting and not told:
                say(waiting)
                told = True
            if time.monotonic() > deadline:
                raise LabError("busy", f"{name} is still locked after {patience:.0f} s") from None
            time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def find_built(kind: str, key: str) -> Path | None:
    """Return the finished directory `kind`/`key`, None if there is none."""
    final = cache_root() / kind / key
    try:
        os.utime(final)  # in use, so `prune` spares it
    except FileNotFoundError:
        return None
    except PermissionError:
        pass  # somebody else's cache: theirs to prune
    return final


def build_once(kind: str, key: str, build: Callable[[Path], object]) -> Path:
    """Return the directory `kind`/`key`, made by `build` if it does not exist yet.

    `build` fills a temporary directory, which gets its final name only when all is done: whatever
    ends the build early leaves nothing that looks finished.
    """
    if found := find_built(kind, key):
        return found
    final = cache_root() / kind / key
    with hold_lock(f"{kind}-{key}", waiting=f"waiting for another build of {kind}/{key}"):
        if found := find_built(kind, key):
            return found
        final.parent.mkdir(parents=True, exist_ok=True)
        # Under the lock, any other temporary directory of this key is the rest of a dead build.
        for stale in final.parent.glob(f"{key}.tmp-*"):
            remove_tree(stale)
        partial = final.parent / f"{key}.tmp-{os.getpid()}"
        partial.mkdir()
        try:
            build(partial)
            give_to_invoker(partial)
            os.rename(partial, final)
        finally:
            remove_tree(partial)
    prune(kind)
    return final


def prune(kind: str) -> None:
    """Remove the least recently used directories of `kind` beyond the number worth keeping."""
    built = [path for path in (cache_root() / kind).iterdir() if ".tmp-" not in path.name]
    oldest_first = sorted(built, key=lambda path: path.stat().st_mtime)
    for path in oldest_first[: -KEEP.get(kind, 4)]:
        if time.time() - path.stat().st_mtime > KEEP_SECONDS:
            remove_tree(path)


def give_to_invoker(tree: Path) -> None:
    """Give `tree` to the user behind sudo, who is going to run the labs."""
    uid, gid = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if os.geteuid() != 0 or not uid or not gid:
        return
    for path in (cache_root(), tree.parent, cache_root() / "locks", tree, *tree.rglob("*")):
        os.chown(path, int(uid), int(gid), follow_symlinks=False)


def remove_tree(tree: Path) -> None:
    """Remove `tree`, which may be absent."""
    if tree.exists():
        shutil.rmtree(tree)
