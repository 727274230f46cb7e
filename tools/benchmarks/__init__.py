"""Benchmarks that run inside a dom0, and the table made of their figures."""
