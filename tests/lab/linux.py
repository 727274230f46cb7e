"""A small Linux system of what this dom0 has: its kernel, a few of its modules, and klibc's programs, as an initrd."""

from __future__ import annotations

import lzma
import platform
import re
from collections.abc import Iterator
from pathlib import Path

RELEASE = platform.release()
KERNEL = f"/boot/vmlinuz-{RELEASE}"
PROGRAMS = ("sh", "mount", "cat", "dd", "insmod", "ipconfig", "poweroff", "reboot")
MODULES = ("net/xen-netfront", "block/xen-blkfront")
MEMORY_KIB = 262144

INIT = b"""#!/bin/sh
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in /modules/*; do insmod $module; done
read line < /proc/cmdline
for word in $line; do
    case $word in
    address=*) ipconfig ${word#address=}:::255.255.255.0::eth0:none ;;
    disk)
        read sectors < /sys/block/xvda/size
        echo disk of $sectors sectors
        dd if=/dev/xvda bs=16 count=1
        ;;
    esac
done
read cpus < /sys/devices/system/cpu/online
read mac < /sys/class/net/eth0/address
echo up: cpus $cpus mac $mac
while read line; do echo heard $line; done
"""


def make_initrd(path: Path) -> str:
    """Write an initrd, and return its path.

    It says ``up`` on its console when it has done what the words of its command line say: ``address=ADDRESS`` gives the
    first vif an address, ``disk`` prints the first sixteen bytes of the first disk. Then it repeats what it hears.
    """
    path.write_bytes(b"".join(_entries()))
    return str(path)


def _entries() -> Iterator[bytes]:
    for place in ("proc", "sys", "dev", "bin", "sbin", "lib", "usr", "usr/lib", "modules"):
        yield _entry(place, 0o40755)
    yield _entry("dev/console", 0o20600, device=(5, 1))
    yield _entry("init", 0o100755, INIT)
    for name in PROGRAMS:
        yield _entry(f"bin/{name}", 0o100755, Path("/usr/lib/klibc/bin", name).read_bytes())
    for name in ("poweroff", "reboot"):  # where the kernel looks for them
        yield _entry(f"sbin/{name}", 0o100755, Path("/usr/lib/klibc/bin", name).read_bytes())
    library = Path(_interpreter(Path("/usr/lib/klibc/bin/sh").read_bytes()))
    yield _entry(str(library)[1:], 0o100755, library.read_bytes())
    for index, name in enumerate(MODULES):
        yield _entry(f"modules/{index}.ko", 0o100644, _module(name))
    yield _entry("TRAILER!!!", 0)


def _interpreter(program: bytes) -> str:
    """Return where a program of klibc looks for its library: ``/lib`` on Debian 12, ``/usr/lib`` on Debian 13."""
    found = re.search(rb"/[a-z/]+/klibc-[^\0]+", program)
    assert found is not None
    return found[0].decode()


def _module(name: str) -> bytes:
    (path,) = Path(f"/lib/modules/{RELEASE}/kernel/drivers").glob(f"{name}.ko*")
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """Return one file in cpio's "newc" format; none is linked, so inodes do not count."""
    text = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(text), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + text
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
