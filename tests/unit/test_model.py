"""What all values have in common."""

from __future__ import annotations

import msgspec
import pytest

from lightvm import calls, model
from tests.unit.samples import CHUNK, EXITED

VALUES = sorted(
    {
        cls
        for module in (model, calls)
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, msgspec.Struct) and cls is not model._Value
    },
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", VALUES, ids=lambda cls: cls.__name__)
def test_value_is_frozen_and_by_keyword_only(cls: type[msgspec.Struct]) -> None:
    assert cls.__struct_config__.frozen
    assert cls.__struct_config__.forbid_unknown_fields
    if cls.__struct_fields__:
        with pytest.raises(TypeError, match="positional"):
            cls(*range(len(cls.__struct_fields__)))


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
