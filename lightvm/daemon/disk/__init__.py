"""Disks of domains: loop devices, and the back-ends of their vbds."""
