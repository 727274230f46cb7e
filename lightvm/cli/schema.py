"""The JSON Schema of a request in TOML, generated from the model: for editors that complete and check such files."""

from __future__ import annotations

from typing import Any

import msgspec

from lightvm.model import CreateRequest

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TEXTS = {
    "image": "path of a kernel file, or the name of a guest that comes with the package",
    "memory": "a number of MiB, or a size with a unit, such as 4M",
    "memory_kib": "the same in KiB",
    "metadata": "text for the guest's program",
}


def request_schema() -> dict[str, Any]:
    """Return the schema of what ``lightvm create`` reads from a file whose name ends in ``.toml``."""
    schema = msgspec.json.schema(CreateRequest)
    definitions: dict[str, Any] = {
        name: _without_null(definition) for name, definition in schema["$defs"].items()
    }
    request = definitions.pop(CreateRequest.__name__)
    properties = request["properties"]
    properties["metadata"] = {"type": "string"}
    properties["memory"] = {"type": ["integer", "string"]}
    properties["wait"] = {"enum": ["running", "ready"]}
    del definitions["WaitFor"]
    disk = properties["disks"]["items"]
    properties["disks"]["items"] = {"anyOf": [{"type": "string"}, disk]}
    for key, text in _TEXTS.items():
        properties[key]["description"] = text
    return {
        "$schema": DIALECT,
        **request,
        "title": "Request of lightvm create",
        "$defs": definitions,
    }


def _without_null(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a definition in which nothing may be null, which TOML has none of."""
    if "properties" not in definition:
        return definition
    properties = {key: _present(value) for key, value in definition["properties"].items()}
    return {**definition, "properties": properties}


def _present(value: dict[str, Any]) -> dict[str, Any]:
    alternatives = [one for one in value.get("anyOf", ()) if one != {"type": "null"}]
    found: dict[str, Any] = alternatives[0] if len(alternatives) == 1 else value
    return {key: part for key, part in found.items() if key != "default"}
