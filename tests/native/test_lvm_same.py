"""The native ``lvm`` against the Python command, over the same daemons: the same output, the same exit codes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from lightvm.daemon.config import Config, NetworkSection
from lightvm.testing import default_config, serve_in_memory
from tests.native_lvm import ROOT, Done, Installed, clean_environment

PLAIN, HANDED = True, False
Line = tuple[bool, str]

# Runs command lines in one interpreter, which takes less time than to start one for each.
_DRIVER = """
import json, os, sys, tempfile
sys.path.insert(0, sys.argv[1])
from lightvm.cli.lvm import main
results = []
for words in json.load(sys.stdin):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        saved = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
        try:
            code = main(words)
        except SystemExit as exc:
            code = exc.code
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(saved[0], 1), os.dup2(saved[1], 2)
        texts = []
        for file in out, err:
            file.seek(0)
            texts.append(file.read().decode())
        results.append([code, *texts])
json.dump(results, sys.stdout)
"""

SCENARIOS: dict[str, list[Line]] = {
    "create": [
        (PLAIN, "create noop"),
        (PLAIN, "create noop --wait ready"),
        (PLAIN, "create noop --name web --wait ready --timeout 5"),
        (PLAIN, "create ./noop --name=other --memory 4M --vcpus 1 --flavor tiny --mode noxs"),
        (PLAIN, "create noop --name web"),
        (PLAIN, "create ./missing"),
        (HANDED, "create missing"),
        (PLAIN, "create ../none/./x//y"),
        (PLAIN, "create noop --flavor none"),
        (PLAIN, "create noop --name ''"),
        (PLAIN, "create noop --name 1"),
        (PLAIN, "create noop --memory 3K"),
        (PLAIN, "create noop --vcpus 200"),
        (PLAIN, "create noop --memory 8 --vcpus 2 --cold --name cold"),
        (PLAIN, "create noop --paused --name quiet --format table"),
        (PLAIN, "create hello --cmdline 'status=7 a  b' --name job --on-poweroff preserve"),
        (PLAIN, "create noop --cpus 0-3,^1 --cpu-weight 512 --cpu-cap 50 --name slow"),
        (PLAIN, "create noop --cpus nonsense"),
        (PLAIN, "create noop --module hello --module ./noop --name modules"),
        (PLAIN, "create noop --module missing"),
        (PLAIN, "create noop --name 'two words'"),
        (PLAIN, "create noop --cmdline 'quotes \" and \\\\ and \t tabs' --name quoted"),
        (PLAIN, "create misbehave --cmdline never-ready --wait ready --timeout 0.05 --name stuck"),
        (PLAIN, "create hello --cmdline status=3 --wait ready --name short"),
        (PLAIN, "list"),
        (PLAIN, "list -q"),
        (HANDED, "list -a"),
        (HANDED, "list --format json"),
        (HANDED, "list --format csv"),
    ],
    "token": [
        (PLAIN, "create noop --token t --name one"),
        (PLAIN, "create noop --token t --name one"),
        (PLAIN, "create noop --token t --name other"),
    ],
    "devices": [
        (PLAIN, "create noop --name a --net lan"),
        (PLAIN, "create noop --name b --net lan,ip=10.1.0.9 --net lan,mac=02:00:00:00:00:09"),
        (PLAIN, "create noop --name c --net lan,ip=10.1.0.9"),
        (PLAIN, "create noop --name d --net other"),
        (PLAIN, "create noop --name e --net lan,ip=x"),
        (PLAIN, "create noop --name f --disk disk --disk ./hello,ro"),
        (PLAIN, "create noop --name g --disk disk"),
        (PLAIN, "create noop --name h --disk hello,ro --disk noop,rw"),
        (PLAIN, "create noop --name i --disk none,ro"),
        (PLAIN, "info a"),
        (PLAIN, "info b"),
        (PLAIN, "info f"),
        (PLAIN, "list"),
    ],
    "many": [
        (PLAIN, "create noop --count 3 --name web --wait ready"),
        (PLAIN, "create noop --count=3 --name web"),
        (PLAIN, "create noop --name web-5"),
        (PLAIN, "create noop --count 2 --name web-5 --token t"),
        (PLAIN, "create ./missing --count 2"),
        (PLAIN, "create noop --count 1"),
        (HANDED, "create noop --count 2 --wait ready --format json"),
        (PLAIN, "list --quiet"),
    ],
    "destroy": [
        (PLAIN, "create noop --count 4 --name a"),
        (PLAIN, "destroy a-1"),
        (PLAIN, "destroy a-1"),
        (PLAIN, "destroy a-1 --missing-ok"),
        (PLAIN, "destroy none a-2 none --missing-ok a-3"),
        (PLAIN, "destroy none a-4 'a b' a-5"),
        (HANDED, "destroy --foreign a-1"),
        (PLAIN, "list"),
    ],
    "wait": [
        (PLAIN, "create hello --name job --cmdline status=7"),
        (PLAIN, "wait job"),
        (PLAIN, "info job"),
        (PLAIN, "wait job --for exited --timeout 2"),
        (PLAIN, "wait job --for ready --timeout 2"),
        (PLAIN, "create noop --name web --wait ready"),
        (PLAIN, "wait web --for running"),
        (PLAIN, "wait web --for=ready --timeout=1.5"),
        (PLAIN, "wait web --timeout 0.02"),
        (PLAIN, "wait none"),
        (PLAIN, "info web"),
        (PLAIN, "info none"),
        (PLAIN, "info ''"),
        (HANDED, "info web --format json"),
    ],
    "what Python does": [
        (HANDED, "create"),
        (HANDED, "create --help"),
        (HANDED, "create -- noop"),
        (HANDED, "create ''"),
        (HANDED, "create noop key=value"),
        (HANDED, "create noop --nam x"),
        (HANDED, "create noop --name"),
        (HANDED, "create noop --memory lots"),
        (HANDED, "create noop --timeout 1"),
        (HANDED, "create noop --wait ready --timeout 0"),
        (HANDED, "create noop --wait ready --timeout 1.23456"),
        (HANDED, "create noop --mode hvm"),
        (HANDED, "create noop --net ,ip=1"),
        (HANDED, "create noop --net lan,colour=red"),
        (HANDED, "create noop --disk ,ro"),
        (HANDED, "create noop --paused=1"),
        (HANDED, "create noop --cmdline größe"),
        (HANDED, "create request.toml"),
        (HANDED, "create none.cfg"),
        (HANDED, "create noop --name meta --metadata noop"),
        (HANDED, "create noop --cpus=0 --on-crash nothing"),
        (HANDED, "destroy"),
        (HANDED, "destroy -x"),
        (HANDED, "info"),
        (HANDED, "info größe"),
        (HANDED, "list -qa"),
        (HANDED, "wait a --for ever"),
        (HANDED, "wait a --timeout 1e3"),
        (HANDED, "flavors"),
        (HANDED, "pause none"),
        (HANDED, "console none"),
        (HANDED, "completion bash"),
    ],
}

# Whether there is a shell, and its domid, depend on how quickly the pool is filled.
_NORMAL = (
    (r" +\d+  (pool|cold)\b", "  #  made"),
    (r'"source":"(pool|cold)"', '"source":"made"'),
    (r" +\d+  (existing|running|ready|paused|exited)\b", r"  #  \1"),
    (r"^(domid: +)\d+", r"\1#"),
    (r"\d+\.\d\d ms", "# ms"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"\bvm-[0-9a-f]{10}", "vm-##########"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", "MOMENT"),
    (r'"(domid|created|ready|at|heartbeat|\w+_us)": ?[0-9.]+', r'"\1": #'),
    (r"^heartbeat: .*\n", ""),
    (r",\d+,(\w+,\d+,\d+,\w*),\d{10}\.\d+,", r",#,\1,MOMENT,"),
    (r" \ds ", " #s "),
)


def normal(done: Done, directory: Path) -> Done:
    """Return an outcome without what differs between two runs."""
    texts = []
    for text in (done.out, done.err):
        text = text.replace(str(directory), "DIR")
        for pattern, instead in _NORMAL:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        texts.append(text)
    return Done(done.code, *texts)


def run_python(lines: list[list[str]], cwd: Path, socket: str) -> list[Done]:
    """Run command lines of ``lvm`` in Python."""
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, ROOT],
        input=json.dumps(lines),
        cwd=cwd,
        env=clean_environment() | {"LIGHTVM_SOCKET": socket},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Done(*result) for result in json.loads(done.stdout)]


def configuration(directory: Path) -> Config:
    network = NetworkSection(bridge="br0", address="10.1.0.1/24")
    return msgspec.structs.replace(default_config(directory), networks={"lan": network})


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_do_the_same_and_only_the_rare_starts_python(
    name: str, installed: Installed, tmp_path: Path
) -> None:
    lines = [shlex.split(line) for _, line in SCENARIOS[name]]
    async with AsyncExitStack() as stack:
        served = []
        for side in ("a", "b"):
            directory = tmp_path / side
            directory.mkdir()
            (directory / "disk").write_bytes(bytes(4096))
            (directory / "request.toml").write_text('image = "noop"\nname = "toml"\n')
            config = configuration(directory)
            served.append(
                await stack.enter_async_context(serve_in_memory(directory, config=config))
            )
        ours, pythons = served
        wanted = await trio.to_thread.run_sync(run_python, lines, pythons.images, pythons.socket)
        done, handed = [], []
        for words in lines:
            run = partial(installed.run, *words, cwd=ours.images, LIGHTVM_SOCKET=ours.socket)
            done.append(normal(await trio.to_thread.run_sync(run), ours.images))
            handed.append(installed.taken_over())
        assert done == [normal(python, pythons.images) for python in wanted]
        assert handed == [
            [] if plain else [["--as-lvm", *words]]
            for (plain, _), words in zip(SCENARIOS[name], lines, strict=True)
        ]
