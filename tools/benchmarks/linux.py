"""A small Linux: this dom0's own kernel with one static program as its init."""

from __future__ import annotations

import functools
import lzma
import os
import subprocess
from pathlib import Path

from benchmarks.daemon import HOST
from benchmarks.programs import compile_program, workshop

NETMASK = "255.255.0.0"
MEMORY_MIB = 128
KERNEL = f"/boot/vmlinuz-{os.uname().release}"


@functools.cache
def initrd() -> str:
    """Make the initrd; return its file."""
    root, target = workshop() / "linux-root", workshop() / "initrd"
    (root / "dev").mkdir(parents=True)
    (root / "init").write_bytes(compile_program("linux_init").read_bytes())
    (root / "init").chmod(0o755)
    (module,) = Path(f"/lib/modules/{os.uname().release}").glob(
        "kernel/drivers/net/xen-netfront.ko*"
    )
    content = module.read_bytes()
    plain = lzma.decompress(content) if module.suffix == ".xz" else content
    (root / "xen-netfront.ko").write_bytes(plain)
    pack = f"cd {root} && find . | cpio -o -H newc --quiet > {target}"
    subprocess.run(["sh", "-c", pack], check=True)
    return str(target)


def cmdline(address: str) -> str:
    """Return the command line of a guest with that address."""
    return f"quiet rdinit=/init -- {address} {NETMASK} {HOST}"
