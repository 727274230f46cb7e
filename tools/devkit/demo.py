"""The demonstration: real Xen, `lightvmd` as a service, a hundred VMs, and how long they took."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from benchmarks.rows import read_rows
from benchmarks.runner import measure_in_lab
from benchmarks.summaries import render_summary
from xenlab.errors import LabError
from xenlab.lab import Lab

VMS = 100
SHELLS = 128  # so that the pool serves them all
GUESTS = "$(/opt/lightvm/bin/python -c 'import lightvm, os; print(os.path.dirname(lightvm.__file__))')/guests"


def main() -> int:
    """Run the demonstration; return an exit status. The lab stays, to be tried by hand."""
    lab = Lab("lab")
    try:
        lab.up()
        lab.install()
        show(lab, "lightvmd runs as a service", START)
        show(lab, f"{VMS} virtual machines", CREATE)
        show(lab, "some of them, as LightVM and as xl see them", LIST)
        show(lab, "a guest that speaks, its console and its exit status", HELLO)
        show(lab, "nothing is leaked; then all go", CLEAN)
        print("\n== how long does it take?", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            measure_in_lab(lab, ["create"], "small", Path(directory))
            print(render_summary(read_rows(Path(directory))))
    except LabError as exc:
        print(f"demo: {exc}")
        return 1
    print("\nThe lab goes on running: try `tools/lab shell`, and `tools/lab down` to end it.")
    return 0


START = f"""
mkdir -p /etc/lightvm
cat > /etc/lightvm/lightvm.toml <<EOF
[flavors.tiny]
memory_kib = 4096
low = 32
high = {SHELLS}
EOF
lightvmd --check-config
systemctl daemon-reload
systemctl start lightvmd
systemctl --no-pager --lines=0 status lightvmd | head -5
for i in $(seq 120); do lightvm pool | grep -q ' {SHELLS} ' && break; sleep 0.5; done
lightvm pool
"""
CREATE = f"""
lightvm create {GUESTS}/noop --name vm --count {VMS} --wait ready | tail -3
"""
LIST = f"""
echo "$(lightvm list -q | wc -l) of {VMS} are there"
lightvm list | head -6
xl list | head -6
"""
HELLO = f"""
lightvm create {GUESTS}/hello --name hello --cmdline 'status=7 how are you'
lightvm wait hello
lightvm console hello
"""
CLEAN = """
lightvm doctor | tail -3
lightvm list -qa | xargs lightvm destroy | tail -1
xl list | head -3
"""


def show(lab: Lab, title: str, script: str) -> None:
    """Run a piece of the demonstration in dom0, its output shown as it comes; raises `LabError`."""
    print(f"\n== {title}", flush=True)
    ssh = lab.ssh
    done = subprocess.run(
        ssh.command(f"set -e{script}"), cwd=ssh.directory, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise LabError("demo-failed", f"{title}: status {done.returncode}")
