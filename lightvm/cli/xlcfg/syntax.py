"""The syntax of xl.cfg(5), as Xen's libxlutil reads it: assignments of strings, numbers and lists.

Where a name is assigned twice the last one counts, and ``+=`` adds to a string or a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from lightvm.errors import BadRequest

Value: TypeAlias = "str | list[Value]"
"""Numbers are strings too: what they mean is the key's matter."""

MOST_NESTED = 16
"""Lists in lists; xl's keys need two."""

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+)
    | (?P<end>\n | \#[^\n]*(?:\n|\Z) | ;)
    | (?P<name>[a-z][._0-9a-z]*)
    | (?P<number>[0-9][0-9a-fx]*)
    | (?P<string>'(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*")
    | (?P<sign>\+=|[=,\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7][0-9]{0,2}|.)", re.DOTALL)
_SIMPLE = dict(zip("abfnrtv\"'\\", "\a\b\f\n\r\t\v\"'\\", strict=True))


class Setting(NamedTuple):
    """What a name is assigned, and in which line."""

    value: Value
    line: int


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse_xl(text: str, where: str) -> dict[str, Setting]:
    """Return what a configuration assigns; raises `BadRequest` with file and line."""
    return _Parser(text, where).parse()


def _split(text: str, where: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadRequest(f"cannot read this: {text[at:].split()[0]!r}", f"{where}:{line}")
        if match.lastgroup != "blank":
            yield _Token(str(match.lastgroup), match[0], line)
        line += match[0].count("\n")
        at = match.end()
    yield _Token("end", "", line)


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._tokens = list(_split(text, where))
        self._at = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _fail(self, message: str, token: _Token) -> BadRequest:
        return BadRequest(message, f"{self._where}:{token.line}")

    def parse(self) -> dict[str, Setting]:
        settings: dict[str, Setting] = {}
        while self._at < len(self._tokens):
            token = self._take()
            if token.kind == "end":
                continue
            if token.kind != "name":
                raise self._fail(f"a name of a key was expected, not {token.text}", token)
            sign = self._take()
            if sign.text not in ("=", "+="):
                raise self._fail(f"{token.text} is not followed by =", token)
            value = self._value(0)
            if sign.text == "+=" and token.text in settings:
                value = self._add(settings[token.text].value, value, token)
            settings[token.text] = Setting(value, token.line)
            if self._next.kind != "end":
                raise self._fail(f"{self._next.text} is one value too much", self._next)
        return settings

    def _add(self, before: Value, more: Value, token: _Token) -> Value:
        if isinstance(before, list) and isinstance(more, list):
            return before + more
        if isinstance(before, str) and isinstance(more, str):
            return before + more
        raise self._fail("+= adds a string to a string, or a list to a list", token)

    def _value(self, depth: int) -> Value:
        token = self._take()
        if token.kind == "string":
            return self._unquote(token)
        if token.kind == "number":
            return token.text
        if token.text != "[":
            raise self._fail(
                f"a string, a number or a list was expected, not {token.text or 'the end'!r}", token
            )
        if depth == MOST_NESTED:
            raise self._fail(f"more than {MOST_NESTED} lists in each other", token)
        return self._list(token, depth)

    def _list(self, begun: _Token, depth: int) -> list[Value]:
        values: list[Value] = []
        while True:
            self._skip_lines(begun)
            if self._next.text == "]":
                self._take()
                return values
            values.append(self._value(depth + 1))
            self._skip_lines(begun)
            if self._next.text == ",":
                self._take()
            elif self._next.text != "]":
                raise self._fail("a comma or ] was expected", self._next)

    def _skip_lines(self, begun: _Token) -> None:
        while self._next.kind == "end" and self._next.text != ";":
            if self._at >= len(self._tokens) - 1:
                raise self._fail("this list has no end", begun)
            self._take()

    def _unquote(self, token: _Token) -> str:
        def replace(match: re.Match[str]) -> str:
            escape = match[1]
            if escape in _SIMPLE:
                return _SIMPLE[escape]
            if len(escape) == 3 and escape[0] == "x":
                return chr(int(escape[1:], 16))
            if escape[0] in "01234567":
                return chr(int(escape) & 0xFF)  # decimal, whatever the manual says
            raise self._fail(f"\\{escape} means nothing", token)

        return _ESCAPE.sub(replace, token.text[1:-1])
