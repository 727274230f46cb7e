"""Configurations of xl's, each with what is to become of it in its first line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from lightvm.cli.request import build_request, read_source
from lightvm.cli.xlcfg.keys import HONOURED, ONLY, REFUSED
from lightvm.errors import BadRequest

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.cfg"))
PAGE = Path(__file__).parents[4] / "docs" / "xl-cfg.md"
DEFAULTS = {"nets": [], "disks": []}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_configuration_becomes_what_it_says(path: Path) -> None:
    kind, _, rest = path.read_text().partition("\n")[0].removeprefix("# ").partition(": ")
    if kind == "expected":
        request = build_request(read_source(str(path)), {})
        found = {
            key: value
            for key, value in json.loads(msgspec.json.encode(request)).items()
            if value is not None
        }
        assert found == DEFAULTS | json.loads(rest)
        return
    assert kind == "refused"
    match = re.fullmatch(r"([^:]+(?:: [a-z_]+)?): (.*)", rest)
    assert match is not None
    with pytest.raises(BadRequest) as caught:
        read_source(str(path))
    assert str(caught.value.where).endswith(match[1])
    assert match[2] in str(caught.value)


def test_there_are_enough_of_them() -> None:
    assert len(CORPUS) >= 30


def test_what_the_command_line_says_counts_more() -> None:
    (smallest,) = [path for path in CORPUS if path.stem == "last-one-counts"]
    source = read_source(str(smallest), ["memory=64", "extra='a b';vcpus=3"])
    request = build_request(source, {"vcpus": 4})
    assert (request.memory_kib, request.cmdline, request.vcpus) == (65536, "a b", 4)
    with pytest.raises(BadRequest, match="has no such key") as caught:
        read_source(str(smallest), ["memroy=64"])
    assert caught.value.where == "the command line:1: memroy"
    with pytest.raises(BadRequest, match=r"with a \.cfg file only"):
        read_source("/boot/guest", ["memory=64"])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="No such file") as caught:
        read_source(str(tmp_path / "none.cfg"))
    assert caught.value.where == str(tmp_path / "none.cfg")
    (tmp_path / "bytes.cfg").write_bytes(b"name = '\xff'\n")
    with pytest.raises(BadRequest, match="not text"):
        read_source(str(tmp_path / "bytes.cfg"))


def test_the_page_has_all_keys() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    written = {key for row in rows for key in re.findall(r"`([a-z0-9_]+)`", row.split("|")[1])}
    assert written == HONOURED | ONLY.keys() | REFUSED.keys()
