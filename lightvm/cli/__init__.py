"""The commands ``lightvm`` and ``lvm``."""
