"""What a lab of each Debian release is made of.

Everything here is an input of the image, so every change makes a new image.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LabError


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One Debian release: the versions that the rest of the lab depends on."""

    name: str
    python: str
    glibc_minor: int


SUITES = {
    suite.name: suite
    for suite in (
        Suite(name="bookworm", python="3.11", glibc_minor=36),
        Suite(name="trixie", python="3.13", glibc_minor=41),
    )
}
DEFAULT_SUITE = "bookworm"

# The two steps are deliberate.  Given packages with versioned virtual dependencies, debootstrap's
# own --include stops half-way and leaves its fake start-stop-daemon behind; then xenstored never
# starts and every xl command hangs.  So debootstrap makes the minimal base and apt does the rest.
PACKAGES = (
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "xen-system-amd64",
    "xen-utils-common",
    "xenstore-utils",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "openssh-server",
    "iproute2",
    "libnftables1",
    "iputils-ping",
    "procps",
    "psmisc",
    "less",
    "python3",
    "python3-venv",
    "python3-pip",
    "gcc",
    "libc6-dev",
    "libxen-dev",
    "linux-perf",
    "strace",
    "tcpdump",
    "curl",
    "ca-certificates",
    "socat",
    "lvm2",
    "crun",
    "podman",
    "e2fsprogs",
)

# bootscrub=0: QEMU hands out zeroed memory already, and scrubbing it again would touch every
# page of a 16 GiB machine, which makes the boot slow and the saved memory file full-sized.
# spec-ctrl=no: nothing speculates under emulation, and each entry into Xen would pay for it.
XEN_ARGS = (
    "console=com1 dom0_mem=2G,max:2G dom0_max_vcpus=1 bootscrub=0 loglvl=all guest_loglvl=all"
    " conring_size=512k noreboot spec-ctrl=no"
)
# net.ifnames=0: the lab's own interface is eth0 on every QEMU.  mitigations=off and audit=0 only
# save time, as above.  norandmaps too: an emulator translates a library again for each address
# that it is loaded at, which doubles what a fork and exec costs.
KERNEL_ARGS = (
    "root=/dev/vda rw rootfstype=ext4 rootflags=noinit_itable console=hvc0 net.ifnames=0"
    " mitigations=off norandmaps audit=0 systemd.show_status=0 loglevel=5"
)


def find_suite(name: str) -> Suite:
    """Return the suite called `name`, or raise `no-such-suite`."""
    try:
        return SUITES[name]
    except KeyError:
        raise LabError("no-such-suite", f"{name!r} (known: {', '.join(SUITES)})") from None
