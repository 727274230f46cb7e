"""The steps that make an image: a minimal Debian, turned into a dom0, as a file system."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

from .cache import cache_root
from .errors import LabError
from .host import Mirror
from .progress import say, step
from .suites import PACKAGES, Suite

PROVISION = Path(__file__).with_name("provision.sh")
DISK_SIZE = "8G"
STEP_PATIENCE = 3600.0

# Everything runs in mount and pid namespaces of its own, tied to this process: however the build
# ends, the kernel removes its mounts and kills what it started.
NAMESPACE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
)
ENTER_CHROOT = """set -eu
mount --bind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
target=$1; shift
exec chroot "$target" "$@"
"""


def sources() -> tuple[bytes, ...]:
    """Return the files whose every change makes a new image."""
    return (Path(__file__).read_bytes(), PROVISION.read_bytes())


def build(suite: Suite, mirror: Mirror, target: Path) -> None:
    """Fill `target` with a complete image."""
    root = target / "root"
    log = target / "build.log"
    make_base(suite, mirror, root, log)
    with step("apt: kernel, Xen and tools"):
        run_script(PROVISION, root, log, suite, *PACKAGES)
    with step("keys, kernel, hypervisor"):
        make_keys(root, target)
        take_boot_files(root, target)
    with step("file system"):
        clean_root(root)
        make_file_system(root, target / "disk.img", "lab", DISK_SIZE, log)


def make_base(suite: Suite, mirror: Mirror, root: Path, log: Path) -> None:
    """Make a minimal Debian that knows its mirror."""
    with step("debootstrap: the minimal base"):
        run_logged(
            ["debootstrap", "--variant=minbase", f"--keyring={mirror.keyring}"]
            + ["--include=ca-certificates", suite.name, str(root), mirror.archive],
            log,
        )
    with step("apt: sources and lists"):
        write_apt_config(suite, mirror, root)
        update_lists(suite, mirror, root, log)


def run_script(script: Path, root: Path, log: Path, suite: Suite, *arguments: str) -> None:
    """Run a script inside `root`."""
    inside = root / "provision.sh"
    shutil.copy(script, inside)
    run_in_chroot(root, ["sh", "/provision.sh", *arguments], log, suite)
    inside.unlink()


def make_file_system(root: Path, disk: Path, label: str, size: str, log: Path) -> None:
    """Make a disk that is one file system of what is in `root`, and remove that."""
    run_logged(
        ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", label, "-d", str(root)]
        + ["-E", "lazy_itable_init=0,root_owner=0:0", str(disk), size],
        log,
    )
    shutil.rmtree(root)


def run_logged(command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run one build command in the build's namespaces; its output goes to `log`."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    with log.open("ab") as sink:
        sink.write(f"+ {' '.join(command)[:200]}\n".encode())
        sink.flush()
        process = subprocess.Popen(
            [*NAMESPACE, *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, **(env or {})},
            # The terminal's Ctrl-C reaches this process alone, which then ends the build.
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=STEP_PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError("timeout", f"{command[0]} took over {STEP_PATIENCE:.0f} s") from None
        finally:
            process.kill()
            process.wait()
    if status != 0:
        kept = cache_root() / "build-failed.log"
        shutil.copy(log, kept)
        raise LabError("build-failed", f"{command[0]}: {last_line(log)} (log: {kept})")


def run_in_chroot(root: Path, command: list[str], log: Path, suite: Suite) -> None:
    """Run one command inside `root`, with the file systems that a chroot needs."""
    enter = ["sh", "-c", ENTER_CHROOT, "enter", str(root), *command]
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    run_logged(enter, log, {"LAB_SUITE": suite.name, "PATH": path})


def write_apt_config(suite: Suite, mirror: Mirror, root: Path) -> None:
    """Give the chroot the host's way to its mirror."""
    (root / "etc/apt/apt.conf.d/00lab").write_text(mirror.settings, encoding="utf-8")
    for name in ("resolv.conf", "hosts"):
        if (source := Path("/etc") / name).exists():
            (root / "etc" / name).unlink(missing_ok=True)
            shutil.copy(source, root / "etc" / name)
    # A proxy or mirror with a private certificate is believed through the host's bundle.
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.exists():
        shutil.copy(bundle, root / "etc/ssl/certs/ca-certificates.crt")


def update_lists(suite: Suite, mirror: Mirror, root: Path, log: Path) -> None:
    """Fetch the package lists, with updates and security fixes where the mirror has them."""
    sources = root / "etc/apt/sources.list"
    main = f"deb {mirror.archive} {suite.name} main\n"
    full = f"{main}deb {mirror.archive} {suite.name}-updates main\n"
    if mirror.security:
        full += f"deb {mirror.security} {suite.name}-security main\n"
    update = ["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"]
    try:
        sources.write_text(full, encoding="utf-8")
        run_in_chroot(root, update, log, suite)
    except LabError:
        say(f"the mirror has no updates for {suite.name}; going on without")
        sources.write_text(main, encoding="utf-8")
        run_in_chroot(root, update, log, suite)


def make_keys(root: Path, target: Path) -> None:
    """Make the key that opens this image, and note the image's own host key."""
    key = target / "ssh_key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lightvm-lab", "-f", str(key)],
        check=True,
        timeout=60,
    )
    authorized = root / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(target / "ssh_key.pub", authorized)
    host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8")
    (target / "known_hosts").write_text(f"lightvm-lab {host_key}", encoding="utf-8")


def take_boot_files(root: Path, target: Path) -> None:
    """Copy what QEMU boots directly: hypervisor (uncompressed), kernel, initrd."""
    boot = root / "boot"
    hypervisors = sorted(boot.glob("xen-*-amd64.gz"))
    kernels, initrds = sorted(boot.glob("vmlinuz-*")), sorted(boot.glob("initrd.img-*"))
    if not (hypervisors and kernels and initrds):
        raise LabError("build-failed", f"no Xen, kernel or initrd among {os.listdir(boot)}")
    with gzip.open(hypervisors[-1]) as packed, (target / "xen").open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    shutil.copy(kernels[-1], target / "vmlinuz")
    shutil.copy(initrds[-1], target / "initrd.img")
    shutil.move(root / "packages.list", target / "packages.list")


def clean_root(root: Path) -> None:
    """Empty the directories that are mount points in the running system."""
    for name in ("dev", "proc", "sys", "run", "tmp"):
        shutil.rmtree(root / name)
        (root / name).mkdir(mode=0o1777 if name == "tmp" else 0o755)
    (root / "tmp").chmod(0o1777)


def last_line(log: Path) -> str:
    """Return the last line of `log` that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
