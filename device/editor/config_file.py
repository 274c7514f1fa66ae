"""The configuration file of the editor. Its zones and lines are replaced; comments and all other tables are kept."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io import atomic
from ...runtime.io.read_file import read_text
from .. import config
from .shapes import KINDS, Drawing, Tables

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


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
    """Return the text of the file with the zones and lines of a drawing."""
    import tomlkit

    document = tomlkit.parse(text)
    for kind in KINDS:
        wanted = [shape for shape in drawing.shapes if shape.kind == kind]
        existing = document.get("events", {}).get(kind, [])
        kept = {shape.origin: tables.make_table(shape) for shape in wanted if shape.origin is not None}
        for number, table in kept.items():
            _update(existing[number], table)
        for number in reversed(range(len(existing))):
            if number not in kept:
                del existing[number]
        added = [tables.make_table(shape) for shape in wanted if shape.origin is None]
        if added:
            _append(document, kind, added)
        elif "events" in document and kind in document["events"] and not wanted:
            del document["events"][kind]
    return str(tomlkit.dumps(document))


def _update(table: Any, values: dict[str, Any]) -> None:
    """Change the keys of a table that differ, so that the format of the others is kept."""
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        if key not in table or table[key] != value:
            table[key] = value


def _append(document: TOMLDocument, kind: str, added: list[dict[str, Any]]) -> None:
    """Append tables `[[events.KIND]]`, or entries if the file has them as a list of inline tables."""
    import tomlkit
    from tomlkit.items import AoT

    if "events" not in document:
        document["events"] = tomlkit.table(is_super_table=True)
    events: Any = document["events"]
    if kind not in events:
        events[kind] = tomlkit.aot()
    rules = events[kind]
    for values in added:
        table: Any = tomlkit.table() if isinstance(rules, AoT) else tomlkit.inline_table()
        table.update(values)
        if isinstance(rules, AoT) and len(rules) and not rules[-1].as_string().endswith("\n\n"):
            rules[-1].add(tomlkit.nl())
        rules.append(table)
