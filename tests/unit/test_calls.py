"""The Python types against the interface file, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from varlink import scanner

from lightvm import calls, errors, model

IDL = scanner.Interface((files("lightvm") / "io.github.lightvm.varlink").read_text())
TYPES = {m.name: m.type for m in IDL.members.values() if isinstance(m, scanner._Alias)}
METHODS = {m.name: m for m in IDL.members.values() if isinstance(m, scanner._Method)}
ERRORS = {m.name: m for m in IDL.members.values() if isinstance(m, scanner._Error)}

LOOSER_IN_PYTHON = {
    "CreateRequest.wait": "the enum is shared with Wait; the daemon refuses `exited`",
    "Finding.kind": "only read by people",
    "Console.data": "bytes here, base64 on the wire",
    "CreateRequest.metadata": "bytes here, base64 on the wire",
    "ConsoleWrite.data": "bytes here, base64 on the wire",
}
"""Fields whose Python type is not exactly that of the interface file, and why that is right."""

NEVER_ON_THE_WIRE = {
    *("AlreadyRunning", "BadConfig", "UnsupportedXen"),  # the daemon does not start
    *("ConnectionLost", "NoDaemon", "ProtocolError", "XlFailed"),  # found by the client itself
}
"""Errors that no reply carries."""


def differences(idl: Any, hint: Any, place: str) -> Iterator[str]:
    """Yield how a Python type differs from a type of the interface file."""
    if place in LOOSER_IN_PYTHON:
        return
    optional = get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)
    if isinstance(idl, scanner._Maybe) != optional:
        yield f"{place}: only one of the two is optional"
        return
    if optional:
        idl = idl.element_type
        (hint,) = (arg for arg in get_args(hint) if arg is not NoneType)
    if isinstance(idl, scanner._CustomType):
        if hint.__name__ != idl.name:
            yield f"{place}: {idl.name} in the interface file, {hint.__name__} in Python"
        idl = TYPES[idl.name]
        if isinstance(idl, scanner._Struct):
            return  # compared by itself
    if isinstance(idl, scanner._Array):
        if get_origin(hint) is not tuple or get_args(hint)[1:] != (...,):
            yield f"{place}: an array is a tuple of any length in Python"
        else:
            yield from differences(idl.element_type, get_args(hint)[0], place)
    elif isinstance(idl, scanner._Enum):
        if not hasattr(hint, "__members__"):
            yield f"{place}: an enum in the interface file only"
        elif {str(member) for member in hint} != set(idl.fields):
            yield f"{place}: the values differ"
    elif hint is not type(idl):
        yield f"{place}: {type(idl).__name__} in the interface file, {hint} in Python"


def struct_differences(idl: Any, cls: type[msgspec.Struct], place: str) -> list[str]:
    """Return how a Python struct differs from a struct of the interface file."""
    hints = get_type_hints(cls)
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    found = [f"{place}.{name}: in one only" for name in set(fields) ^ set(idl.fields)]
    for name in set(fields) & set(idl.fields):
        found += differences(idl.fields[name], hints[name], f"{place}.{name}")
        if isinstance(idl.fields[name], scanner._Maybe) and fields[name].default is not None:
            found.append(f"{place}.{name}: optional, but its default is not None")
    return found


def test_interface_is_the_one_of_the_calls() -> None:
    assert IDL.name == calls.INTERFACE


@pytest.mark.parametrize("name", TYPES)
def test_type_has_the_same_fields_in_python(name: str) -> None:
    cls = getattr(model, name)
    if isinstance(TYPES[name], scanner._Enum):
        assert {str(member) for member in cls} == set(TYPES[name].fields)
    else:
        assert struct_differences(TYPES[name], cls, name) == []


def test_methods_are_the_same() -> None:
    ours = {name for name in calls.METHODS if name.startswith(f"{calls.INTERFACE}.")}
    assert ours == {f"{calls.INTERFACE}.{name}" for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_method_has_the_same_parameters_and_reply_in_python(name: str) -> None:
    method = calls.METHODS[f"{calls.INTERFACE}.{name}"]
    assert struct_differences(METHODS[name].in_type, method.parameters, name) == []
    assert struct_differences(METHODS[name].out_type, method.reply, name) == []


def test_errors_are_the_same() -> None:
    ours = {errors.camel_case(code) for code in errors.BY_CODE}
    assert ours - NEVER_ON_THE_WIRE == set(ERRORS)


@pytest.mark.parametrize("name", ERRORS)
def test_error_has_a_message_and_may_have_a_place(name: str) -> None:
    fields = ERRORS[name].type.fields
    assert list(fields) == ["message", "where"]
    assert isinstance(fields["message"], str)
    assert isinstance(fields["where"].element_type, str)


def test_service_methods_are_those_of_every_varlink_service() -> None:
    ours = {name for name in calls.METHODS if name.startswith(f"{calls.SERVICE}.")}
    assert ours == {f"{calls.SERVICE}.GetInfo", f"{calls.SERVICE}.GetInterfaceDescription"}


def test_comparison_sees_a_difference() -> None:
    idl = scanner.Interface("interface a.b\ntype Flavor (name: int, memory: ?int)").members
    found = struct_differences(idl["Flavor"].type, model.Flavor, "Flavor")
    assert "Flavor.name: int in the interface file, <class 'str'> in Python" in found
    assert "Flavor.memory: in one only" in found
