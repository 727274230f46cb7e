"""What importing costs, and what the package offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lightvm


def imported_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print('\\n'.join(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.split())


def test_the_package_itself_imports_nothing() -> None:
    modules = imported_by("import lightvm")
    assert {name for name in modules if name.startswith("lightvm")} == {"lightvm"}
    assert not modules & {"trio", "msgspec", "typing"}


@pytest.mark.parametrize(
    "module", ["lightvm.blocking", "lightvm.cli.main", "lightvm.cli.verbs.create"]
)
def test_blocking_client_and_commands_need_no_trio(module: str) -> None:
    modules = imported_by(f"import {module}")
    assert "trio" not in modules
    assert not {name for name in modules if name.startswith(("lightvm.xen", "lightvm.daemon"))}


def test_command_imports_no_client_before_it_knows_the_verb() -> None:
    assert not imported_by("import lightvm.cli.main") & {"msgspec", "lightvm.blocking", "socket"}


def test_lvm_command_imports_no_parser_before_it_knows_that_the_verb_is_ours() -> None:
    modules = imported_by("import lightvm.cli.main, lightvm.cli.lvm")
    assert not modules & {"argparse", "msgspec", "typing"}


@pytest.mark.parametrize("name", lightvm.__all__)
def test_public_name_is_there(name: str) -> None:
    assert getattr(lightvm, name) is not None
    assert name in dir(lightvm)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = lightvm.nothing_like_it  # type: ignore[attr-defined]
