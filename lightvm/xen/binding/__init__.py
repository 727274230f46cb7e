"""The real Xen: the only package that imports the native extension, and so the only one with `Any` in it."""

from lightvm.xen.binding.hypervisor import XenHypervisor

__all__ = ["XenHypervisor"]
