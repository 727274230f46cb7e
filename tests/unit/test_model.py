"""What all values have in common."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from lightvm import calls, model
from tests.unit.samples import CHUNK, EXITED

VALUES = sorted(
    {
        cls
        for module in (model, calls)
        for cls in vars(module).values()
        if isinstance(cls, type)
        and issubclass(cls, msgspec.Struct)
        and not cls.__name__.startswith("_")
    },
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", VALUES, ids=lambda cls: cls.__name__)
def test_value_is_frozen_and_by_keyword_only(cls: type[msgspec.Struct]) -> None:
    assert cls.__struct_config__.frozen
    if cls.__struct_fields__:
        with pytest.raises(TypeError, match="positional"):
            cls(*range(len(cls.__struct_fields__)))


@pytest.mark.parametrize("method", calls.METHODS.values(), ids=lambda method: method.name)
def test_what_is_asked_is_strict_and_what_is_told_may_grow(method: calls.Method[Any, Any]) -> None:
    assert method.parameters.__struct_config__.forbid_unknown_fields
    assert not method.reply.__struct_config__.forbid_unknown_fields


def test_the_parts_of_a_reply_may_grow_too() -> None:
    told = json.loads(msgspec.json.encode(EXITED))
    told["exit"]["mood"] = told["mood"] = "fine"
    assert msgspec.json.decode(json.dumps(told), type=model.Domain) == EXITED


def test_value_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(EXITED), type=model.Domain) == EXITED


def test_console_bytes_are_base64_in_json_only() -> None:
    encoded = msgspec.json.encode(CHUNK)
    assert b'"data":"aGVsbG8K"' in encoded
    assert msgspec.json.decode(encoded, type=model.ConsoleChunk).data == b"hello\n"


def test_console_bytes_that_are_no_base64_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="base64"):
        msgspec.json.decode(
            b'{"data":"?","offset":0,"next":0,"lost":0,"ended":true}', type=model.ConsoleChunk
        )
