"""Tests on real Xen; they run inside a dom0."""
