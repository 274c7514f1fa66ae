"""Line numbers of the entries of a TOML document, which Python's parser does not report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

Place = tuple[str | int, ...]
"""Keys and list indices, such as ("limbs", 2, "paf")."""

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<string>\"\"\"(?:\\.|[^\\])*?\"{3,5}|'''.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    |(?P<mark>[\[\]{}=,.\n])
    |(?P<bare>[^\s\[\]{}=,.\#"']+)""",
    re.VERBOSE | re.DOTALL,
)
_STEP = re.compile(r"\[(\d+)\]|'((?:\\.|[^'\\])*)'|([^.\[\]']+)")


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def find_line(text: str, place: str) -> int:
    """Find the line of an entry, or of the closest entry around it.

    Args:
        text: A valid TOML document.
        place: The entry as `schema` names it, such as `limbs[2].paf`.

    Returns:
        The line, from 1.
    """
    lines = _Scanner(text).scan()
    path: Place = tuple(int(step[1]) if step[1] else step[2] or step[3] for step in _STEP.finditer(place))
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def scan_lines(text: str) -> dict[Place, int]:
    """Return the line, from 1, of every table, key and list entry of a valid TOML document."""
    return _Scanner(text).scan()


class _Scanner:
    """Scanner for a document that the TOML parser has accepted already."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_split(text))
        self._position = 0
        self._lines: dict[Place, int] = {}

    def scan(self) -> dict[Place, int]:
        """Return the line of every table, key and list entry."""
        table: Place = ()
        table_counts: dict[Place, int] = {}
        while (token := self._peek()) is not None:
            if token.text == "\n":
                self._position += 1
            elif token.text == "[":
                self._position += 1
                in_list = self._skip("[")
                table = self._read_key("]")
                self._skip("]")
                if in_list:
                    number = table_counts[table] = table_counts.get(table, -1) + 1
                    table = (*table, number)
                self._lines.setdefault(table, token.line)
            else:
                self._scan_entry(table)
        return self._lines

    def _scan_entry(self, table: Place) -> None:
        token = self._peek()
        assert token is not None
        path = (*table, *self._read_key("="))
        self._lines.setdefault(path, token.line)
        self._scan_value(path)

    def _scan_value(self, path: Place) -> None:
        token = self._peek()
        if token is None:
            return
        self._lines.setdefault(path, token.line)
        self._position += 1
        if token.text == "[":
            number = 0
            while not self._skip_to("]"):
                self._scan_value((*path, number))
                number += 1
        elif token.text == "{":
            while not self._skip_to("}"):
                self._scan_entry(path)
        else:
            while (token := self._peek()) is not None and token.text not in ("\n", ",", "]", "}"):
                self._position += 1

    def _read_key(self, end: str) -> Place:
        """Read the parts of a dotted key, and the mark behind it."""
        parts: list[str] = []
        while (token := self._peek()) is not None:
            self._position += 1
            if token.text == end and token.kind == "mark":
                break
            if token.kind != "mark":
                parts.append(token.text[1:-1] if token.kind == "string" else token.text)
        return tuple(parts)

    def _skip_to(self, end: str) -> bool:
        """Skip commas and line ends; return True if the list or table ends here."""
        while (token := self._peek()) is not None and token.text in (",", "\n"):
            self._position += 1
        return token is None or self._skip(end)

    def _skip(self, mark: str) -> bool:
        token = self._peek()
        if token is None or token.text != mark:
            return False
        self._position += 1
        return True

    def _peek(self) -> _Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None


def _split(text: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind != "comment":
            yield _Token(kind, found[0], line)
        line += found[0].count("\n")
