"""The configuration file of the editor. Its zones and lines are replaced; comments and all other tables are kept."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io import atomic
from ...runtime.io.read_file import read_text
from ...runtime.toml_lines import scan_lines
from .. import config
from .shapes import KINDS, Drawing, Tables, format_tables


class ConfigFile:
    """A configuration file, as it was when the editor started.

    Attributes:
        path: The file; it need not exist yet.
        document: Its content, parsed.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            MissingExtraError: tomlkit is not installed.
            InputError: The file cannot be read, is not TOML, or has a wrong key or value.
        """
        try:
            import tomlkit  # noqa: F401 - checks only that it is installed
        except ModuleNotFoundError as error:
            raise MissingExtraError("--config", "edit", error) from None
        self.path = path
        self._text = self._read()
        config.parse(self._text, path)
        self.document: Mapping[str, Any] = tomllib.loads(self._text)

    def write(self, drawing: Drawing, tables: Tables) -> None:
        """Write the zones and lines into the file.

        Raises:
            InputError: The file was changed since it was read, or would not be valid.
            OutputError: The file cannot be written.
        """
        if self._read() != self._text:
            raise InputError(f"{self.path}: the file was changed by another program; start the editor again")
        text = _replace_tables(self._text, drawing, tables)
        settings = config.parse(text, self.path)
        try:
            settings.check()
        except ValueError as error:
            raise InputError(f"{self.path}: {error}") from None
        atomic.write_text(self.path, text)
        self._text = text

    def _read(self) -> str:
        try:
            return read_text(self.path)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise InputError(f"{self.path}: cannot read the configuration: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: not valid TOML: {error}") from None


def _replace_tables(text: str, drawing: Drawing, tables: Tables) -> str:
    """Return the text of the file with the zones and lines of a drawing.

    Raises:
        InputError: The file has a form in which this is not possible.
    """
    wanted: dict[str, Any] = {}
    for kind in KINDS:
        shapes = [shape for shape in drawing.shapes if shape.kind == kind]
        kept = {shape.origin: tables.make_table(shape) for shape in shapes if shape.origin is not None}
        added = [tables.make_table(shape) for shape in shapes if shape.origin is None]
        wanted[kind] = [kept[number] for number in sorted(kept)] + added
        text = _replace_kind(text, kind, kept, added)
    _check_result(text, wanted)
    return text


def _replace_kind(text: str, kind: str, kept: dict[int, dict[str, Any]], added: list[dict[str, Any]]) -> str:
    import tomlkit
    from tomlkit.items import AoT

    document: Any = tomlkit.parse(text)
    rules = document.get("events", {}).get(kind, [])
    removed = [number for number in range(len(rules)) if number not in kept]
    for number, table in kept.items():
        _update(rules[number], table)
    if rules and not isinstance(rules, AoT):
        for number in reversed(removed):
            del rules[number]
        rules.extend(_make_inline_table(table) for table in added)
        return str(tomlkit.dumps(document))
    if "events" in document and kind in document["events"] and not rules:
        del document["events"][kind]  # an empty list cannot be extended by tables
    text = _remove_tables(str(tomlkit.dumps(document)), kind, removed)
    if not added:
        return text
    start = f"{text.rstrip()}\n\n" if text.strip() else ""
    return start + format_tables([(kind, table) for table in added])


def _make_inline_table(values: dict[str, Any]) -> Any:
    import tomlkit

    table = tomlkit.inline_table()
    table.update(values)
    return table


def _update(table: Any, values: dict[str, Any]) -> None:
    """Change the keys of a table that differ, so that the format of the others is kept."""
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        if key not in table or table[key] != value:
            table[key] = value


def _remove_tables(text: str, kind: str, numbers: list[int]) -> str:
    """Remove tables `[[events.KIND]]`. Comments behind one stay: they can belong to the next table."""
    lines, places = text.splitlines(keepends=True), scan_lines(text)
    for number in reversed(numbers):
        place = ("events", kind, number)
        start = places[place] - 1
        end = min((line - 1 for other, line in places.items() if other[:3] != place and line - 1 > start),
                  default=len(lines))  # fmt: skip
        while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
            end -= 1
        del lines[start:end]
    return "".join(lines)


def _check_result(text: str, wanted: dict[str, Any]) -> None:
    """Raise InputError unless the text has exactly the wanted zones and lines."""
    try:
        events = tomllib.loads(text).get("events", {})
    except tomllib.TOMLDecodeError:
        events = None
    if events is None or any(events.get(kind, []) != rules for kind, rules in wanted.items()):
        raise InputError(
            "the file has a form in which zones and lines cannot be replaced; copy the TOML of this page into it"
        )
