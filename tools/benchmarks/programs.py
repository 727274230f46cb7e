"""Programs of the benchmarks, compiled where they run, and how long processes take."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
TRUE = "/bin/true"
RANDOMIZE = Path("/proc/sys/kernel/randomize_va_space")
AS_IN_DEBIAN = "2"


@functools.cache
def workshop() -> Path:
    """Return a directory for what is compiled, one for this interpreter, which removes it at its end."""
    made = Path(tempfile.mkdtemp(prefix="lightvm-bench-programs-"))
    atexit.register(shutil.rmtree, made)
    return made


@functools.cache
def compile_program(name: str, *, static: bool = True) -> Path:
    """Compile a program of ours; return its file."""
    target = workshop() / (name if static else f"{name}-dynamic")
    options = ["-O2", *(["-static"] if static else [])]
    subprocess.run(["gcc", *options, "-o", target, HERE / f"{name}.c"], check=True)
    return target


def spawn(n: int, *command: str | Path, fixed: bool = False) -> list[float]:
    """Time fork+exec+wait of a command from a small process, in ms; `fixed` has it always at the same addresses."""
    with at_random_addresses():
        how = ["setarch", "-R"] if fixed else []
        return run_program(*how, compile_program("spawn"), str(n), *command)


def run_program(*command: str | Path) -> list[float]:
    """Return the numbers that a program prints."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: status {done.returncode}: {done.stderr[-1000:]}")
    return [float(line) for line in done.stdout.split()]


@contextmanager
def at_random_addresses() -> Iterator[None]:
    """Have whatever is started meanwhile at random addresses, as Debian has all programs.

    A lab has none: its emulator would translate a program again for each start of it, udev's for each vif among them,
    until it has no room left, and forgets all that it has translated.
    """
    before = RANDOMIZE.read_text(encoding="ascii").strip()
    if before == AS_IN_DEBIAN:
        yield
        return
    RANDOMIZE.write_text(AS_IN_DEBIAN, encoding="ascii")
    try:
        yield
    finally:
        RANDOMIZE.write_text(before, encoding="ascii")
