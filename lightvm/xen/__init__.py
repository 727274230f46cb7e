"""Xen as LightVM sees it: one seam, the real thing behind it, and a fake."""
