"""Configurations for tests that need one."""

EVERY_KEY = """
image = "/k"
name = "web"
flavor = "tiny"
mode = "xenstore"
memory = "4M"
vcpus = 1
cpus = ["0-3,^1"]
cpu_weight = 512
cpu_cap = 50
cmdline = "quiet"
modules = ["/m", "n"]
nets = [{network = "default", ipv4 = "10.0.0.2", mac = "02:00:00:00:00:01"}]
disks = ["d", {path = "/e", readonly = true}]
metadata = "text"
paused = true
cold = true
on_poweroff = "restart"
on_reboot = "destroy"
on_crash = "preserve"
wait = "ready"
timeout_ms = 100
token = "t"
"""
