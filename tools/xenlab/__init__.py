"""xenlab: a real Xen host (Xen and a Debian dom0) in QEMU, for machines that have none."""

from .errors import LabError
from .lab import Lab

__all__ = ["Lab", "LabError"]
