"""The schema of requests in TOML: what it takes, `lightvm create` takes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import msgspec
import pytest

from lightvm.cli.request import build_request, read_source
from lightvm.cli.schema import request_schema
from lightvm.errors import BadRequest
from lightvm.model import CreateRequest
from tests.unit.cli.conftest import Run
from tests.unit.cli.samples import EVERY_KEY

SCHEMA = request_schema()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_it_has_every_key() -> None:
    keys = {field.name for field in msgspec.structs.fields(CreateRequest)}
    assert SCHEMA["properties"].keys() == keys | {"memory"}
    assert tomllib.loads(EVERY_KEY).keys() == (keys | {"memory"}) - {"memory_kib"}


def test_a_request_with_every_key_is_valid() -> None:
    jsonschema.validate(tomllib.loads(EVERY_KEY), SCHEMA)
    jsonschema.validate({"image": "/k", "memory_kib": 4096, "memory": 4}, SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'image = "/k"\ncolour = "red"',
        "image = 1",
        'image = "/k"\nvcpus = "1"',
        'image = "/k"\nmode = "pv"',
        'image = "/k"\nmemory = true',
        'image = "/k"\non_crash = "reboot"',
        'image = "/k"\nnets = [{}]',
        'image = "/k"\nnets = [{network = "a", vlan = 1}]',
        'image = "/k"\ndisks = [1]',
    ],
)
def test_what_is_not_valid_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), SCHEMA)
    path = tmp_path / "vm.toml"
    path.write_text(text)
    with pytest.raises(BadRequest):
        build_request(read_source(str(path)), {})


def test_the_verb_prints_it(run: Run) -> None:
    assert json.loads(run("schema").out) == SCHEMA
