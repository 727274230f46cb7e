"""Unit tests: they mirror ``lightvm/``, and need neither Xen nor root."""
