"""XenStore: the little that LightVM's own guests need there, and all that others look for."""
