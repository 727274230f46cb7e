"""The completion files and the manual against the commands themselves."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import lightvm
from lightvm.cli.parser import verb_parser
from lightvm.cli.verbs import VERBS
from tests.unit.cli.conftest import Run

FOLDER = Path(lightvm.__file__).parent / "completion"
BASH = FOLDER / "lightvm.bash"
ZSH = FOLDER / "_lightvm"
MANUAL = FOLDER.parent.parent / "man"

Complete = Callable[..., list[str]]


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser of a verb."""
    from importlib import import_module

    parser = verb_parser("lightvm", verb)
    import_module(f"lightvm.cli.verbs.{verb}").add_arguments(parser)
    return parser


def options_of(verb: str) -> set[str]:
    """Return the long options of a verb."""
    return {
        option
        for action in parser_of(verb)._actions
        for option in action.option_strings
        if option.startswith("--")
    }


@pytest.fixture
def complete(tmp_path: Path) -> Complete:
    """Complete a command line in bash, with a ``lightvm`` that lists odd names."""
    command = tmp_path / "lightvm"
    command.write_text(
        '#!/bin/sh\nprintf "%s " "$@" >>' + str(tmp_path / "asked") + "\n"
        "printf '%s\\n' web-1 web-2 job 'a b' '$(touch pwned)'\n"
    )
    command.chmod(0o755)

    def complete_words(*words: str) -> list[str]:
        script = (
            'source "$1"; shift; COMP_WORDS=(lightvm "$@"); COMP_CWORD=$#;'
            ' _lightvm; ((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; true'
        )
        done = subprocess.run(
            ["bash", "-c", script, "bash", str(BASH), *words],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:{os.defpath}"},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return complete_words


@pytest.mark.parametrize(("shell", "file"), [("bash", BASH), ("zsh", ZSH)])
def test_completion_file_is_printed_as_it_is(run: Run, shell: str, file: Path) -> None:
    assert run("completion", shell) == (0, file.read_text(), "")


@pytest.mark.parametrize(("shell", "file"), [("bash", BASH), ("zsh", ZSH)])
def test_completion_file_parses(shell: str, file: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", file], check=True, timeout=30)


def test_bash_completes_every_verb(complete: Complete) -> None:
    assert complete("") == list(VERBS)
    assert complete("pa") == ["pause"]
    assert complete("--socket", "/x", "des") == ["destroy"]
    assert complete("--v") == ["--version"]


@pytest.mark.parametrize("verb", VERBS)
def test_bash_completes_every_option_of_a_verb(complete: Complete, verb: str) -> None:
    assert set(complete(verb, "--")) == options_of(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_bash_completes_the_choices_of_an_option(complete: Complete, verb: str) -> None:
    for action in parser_of(verb)._actions:
        if action.choices is not None:
            before = action.option_strings[-1:]
            assert complete(verb, *before, "") == list(action.choices)


@pytest.mark.parametrize("verb", ["destroy", "info", "pause", "unpause", "console", "wait"])
def test_bash_completes_domains(complete: Complete, verb: str) -> None:
    assert complete(verb, "we") == ["web-1", "web-2"]


def test_bash_asks_the_daemon_that_is_named(complete: Complete, tmp_path: Path) -> None:
    complete("--socket", "=", "/x", "info", "")
    assert (tmp_path / "asked").read_text() == "--socket /x list --quiet --all "


def test_bash_quotes_odd_names_and_runs_none(complete: Complete, tmp_path: Path) -> None:
    assert complete("info", "a") == ["a\\ b"]
    assert complete("info", "$") == ["\\$\\(touch\\ pwned\\)"]
    assert not (tmp_path / "pwned").exists()


def test_bash_completes_files_for_create(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "web.toml").touch()
    assert complete("create", "we") == ["web.toml"]
    assert complete("create", "--module", "web") == ["web.toml"]


@pytest.mark.parametrize("verb", VERBS)
def test_zsh_knows_every_verb_and_option(verb: str) -> None:
    text = ZSH.read_text()
    quote = '"' if "'" in VERBS[verb] else "'"
    assert f"{quote}{verb}:{VERBS[verb]}{quote}" in text
    assert {option for option in options_of(verb) if option not in text} == set()


@pytest.mark.parametrize("verb", VERBS)
def test_manual_has_every_verb_and_option(verb: str) -> None:
    text = re.sub(r"\\f.", "", (MANUAL / "lightvm.1").read_text()).replace("\\-", "-")
    assert re.search(rf"\b{verb}\b", text)
    assert {option for option in options_of(verb) if option not in text} == set()


@pytest.mark.parametrize("page", ["lightvm.1", "lvm.1"])
def test_manual_is_formatted_without_a_warning(page: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-z", MANUAL / page],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""


def test_manual_of_lvm_has_every_verb() -> None:
    text = (MANUAL / "lvm.1").read_text()
    assert {verb for verb in VERBS if verb not in text} == set()
