"""Host tests of the C engine, under the address and undefined behaviour sanitizers; and its layouts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.layouts import constants, layout, structs

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "native"
CC = os.environ.get("CC", "gcc")
FLAGS = [
    "-std=gnu11",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-D__XEN_INTERFACE_VERSION__=__XEN_LATEST_INTERFACE_VERSION__",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command[0]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    "source", sorted(NATIVE.glob("tests/test_*.c")), ids=lambda path: path.stem
)
def test_engine_passes_under_sanitizers(source: Path, tmp_path: Path) -> None:
    program = tmp_path / source.stem
    run(CC, *FLAGS, "-iquote", NATIVE / "guest/include", "-o", program, source)
    assert run(program).strip()


def header_directories() -> list[str]:
    """The headers of this machine, and those of other Xen versions in LIGHTVM_XEN_HEADERS (a:b:c)."""
    others = os.environ.get("LIGHTVM_XEN_HEADERS", "")
    return ["/usr/include", *filter(None, others.split(":"))]


@pytest.mark.parametrize("directory", header_directories())
def test_declarations_agree_with_xens_headers(directory: str, tmp_path: Path) -> None:
    run(
        CC, "-std=gnu11", f"-I{directory}", "-c", "-o", tmp_path / "check.o", NATIVE / "abi/check.c"
    )


def in_guests(name: str) -> str:
    """Return what the guest's header calls something of the toolstack's."""
    return name.replace("LVM_", "LIGHTVM_").replace("lvm_", "lightvm_")


def test_guest_header_agrees_with_the_toolstacks(tmp_path: Path) -> None:
    guest = (NATIVE / "guest/include/lightvm.h").read_text()
    lines = [
        f'#include "{NATIVE}/src/lvm_layout.h"',
        f'#include "{NATIVE}/guest/include/lightvm.h"',
    ]
    for ours in structs():
        theirs = in_guests(ours)
        lines.append(f'_Static_assert(sizeof(struct {ours}) == sizeof(struct {theirs}), "{ours}");')
        for field in layout(ours):
            places = [f"__builtin_offsetof(struct {name}, {field})" for name in (ours, theirs)]
            lines.append(f'_Static_assert({" == ".join(places)}, "{ours}.{field}");')
    common = {name for name in constants() if re.search(rf"\b{in_guests(name)}\b", guest)}
    assert common >= {"LVM_DEVICE_MAGIC", "LVM_ENTRY_VBD", "LVM_VIFS_MAX", "LVM_VBD_DISCARD"}
    for name in common:
        theirs = f"(unsigned){in_guests(name)}"
        lines.append(f'_Static_assert({name} == {theirs}, "{name}");')
    source = tmp_path / "agree.c"
    source.write_text("\n".join(lines) + "\n")
    run(CC, "-std=gnu11", "-c", "-o", tmp_path / "agree.o", source)


def test_cdef_declares_what_the_header_declares() -> None:
    def functions(text: str) -> set[str]:
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        return {
            " ".join(f.split()) for f in re.findall(r"^\w[^;{}#]*?\([^;]*\);", code, re.MULTILINE)
        }

    header = functions((NATIVE / "src/lvm.h").read_text())
    assert header == functions((NATIVE / "ffi/lvm.cdef").read_text())
    assert len(header) > 20
