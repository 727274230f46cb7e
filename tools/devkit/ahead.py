"""Makes labs ready while other layers of tests run: an image and a first boot take minutes, of one processor mostly."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence

from xenlab.cache import cache_root
from xenlab.progress import say

from .environment import ROOT


def make_labs_ahead(suites: Sequence[str]) -> None:
    """Begin to make what labs of these suites start from, one after the other, and return at once.

    Whoever needs a lab meanwhile waits for it, and makes it himself where it has failed here.
    """
    if suites:
        threading.Thread(target=_make, args=(suites,), daemon=True).start()


def _make(suites: Sequence[str]) -> None:
    log = cache_root() / "ahead.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        for suite in suites:
            # It ends when this thread does, which lasts as long as the process.
            command = ["setpriv", "--pdeathsig", "TERM", str(ROOT / "tools" / "lab"), "build"]
            done = subprocess.run(
                [*command, "--suite", suite],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                check=False,
            )
            if done.returncode:
                say(f"no lab of {suite} was made ahead (log: {log})")
