"""What the engine says when a step fails, as an error."""

from __future__ import annotations

import errno
import os

from lightvm.errors import HostError, HypercallError, LightVMError, OutOfMemory, UnsupportedXen
from lightvm.xen._native import ffi, lib


def check(rc: int) -> int:
    """Return what a step has returned; raises what `failure` makes of a negative number."""
    if rc >= 0:
        return rc
    raise failure(rc)


def failure(rc: int) -> LightVMError:
    """Return what the last step that failed, with that number of an error, is to its caller."""
    step = ffi.string(lib.lvm_failed_step()).decode()
    if rc == -errno.ENOMEM:
        return OutOfMemory("Xen has no memory left for this", step)
    return HypercallError(os.strerror(-rc), step, errno=-rc)


def unsupported(rc: int) -> HostError:
    """Return why Xen cannot be had."""
    step = ffi.string(lib.lvm_failed_step()).decode()
    if rc == -errno.EPROTONOSUPPORT:
        return UnsupportedXen(
            "this Xen has an interface version that this release does not know", step
        )
    if rc in (-errno.ENOSYS, -errno.EPERM, -errno.EACCES, -errno.ENOENT):
        return UnsupportedXen("no Xen here, or not a control domain, or not root", step)
    return HypercallError(os.strerror(-rc), step, errno=-rc)
