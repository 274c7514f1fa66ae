"""The list of known models: a TOML file with a table a model. docs/models.md has the entries."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ModelError


@dataclass(frozen=True)
class WeightFile:
    """A file of published weights: its name, where it is published, and what it must hash to.

    `git_blob` is git's own hash, for files of which upstream gives no other.
    """

    name: str
    url: str
    sha256: str = ""
    git_blob: str = ""
    bytes: int = 0
    """Length; 0 where it is not known."""

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` is this one."""
        try:
            length = path.stat().st_size
            if self.bytes and self.bytes != length:
                return False
            with path.open("rb") as file:
                if self.sha256:
                    return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
                digest = hashlib.sha1(b"blob %d\0" % length, usedforsecurity=False)
                while piece := file.read(1 << 20):
                    digest.update(piece)
                return digest.hexdigest() == self.git_blob
        except OSError:
            return False


@dataclass(frozen=True)
class KnownModel:
    """A published network. `files[0]` is what `edgepose convert` takes."""

    name: str
    network: str
    """Its definition's name in `edgepose.convert.networks`."""
    files: tuple[WeightFile, ...]
    licence: str
    published: str
    input_size: tuple[int, int]
    """Width and height it is converted to when nothing else is asked for."""
    published_ap: float | None = None
    needs_calibration: bool = False


_FILE_ENTRIES = {"name": str, "url": str, "sha256": str, "git_blob": str, "bytes": int}
_MODEL_ENTRIES = {
    "network": str, "published": str, "published_ap": float, "licence": str, "input_size": str,
    "needs_calibration": bool, "files": list,
}  # fmt: skip
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def read_list(path: Path) -> tuple[KnownModel, ...]:
    """The models of a list. Raises ModelError naming file and entry where one is missing, unknown or wrong."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a readable list of models: {error}") from None
    return tuple(_model(f"{path}: {name}", name, table) for name, table in tables.items())


def _model(where: str, name: str, table: Any) -> KnownModel:
    _expect(re.fullmatch(_NAME, name), where, "a name of letters, digits, dots, hyphens and underscores", name)
    entries = _entries(where, table, _MODEL_ENTRIES, {"network", "files", "licence", "published", "input_size"})
    size = re.fullmatch(r"(\d{2,4})x(\d{2,4})", entries.pop("input_size"))
    _expect(size, f"{where}.input_size", "WIDTHxHEIGHT", table["input_size"])
    assert size is not None
    _expect(entries["files"], f"{where}.files", "one file or more", "none")
    files = tuple(_file(f"{where}.files[{i}]", entry) for i, entry in enumerate(entries.pop("files")))
    return KnownModel(name=name, files=files, input_size=(int(size[1]), int(size[2])), **entries)


def _file(where: str, table: Any) -> WeightFile:
    file = WeightFile(**_entries(where, table, _FILE_ENTRIES, {"name", "url"}))
    # The name becomes part of a path, the address is opened: neither may lead elsewhere.
    _expect(re.fullmatch(_NAME, file.name), f"{where}.name", "a file name", file.name)
    address = urlsplit(file.url)
    _expect(address.scheme in ("http", "https") and address.hostname, f"{where}.url", "http(s)://...", file.url)
    hashes = {"sha256": (file.sha256, 64), "git_blob": (file.git_blob, 40)}
    given = {name: value for name, (value, _) in hashes.items() if value}
    _expect(len(given) == 1, where, "either sha256 or git_blob", " and ".join(given) or "neither")
    for name, value in given.items():
        length = hashes[name][1]
        _expect(re.fullmatch(rf"[0-9a-f]{{{length}}}", value), f"{where}.{name}", f"{length} hexadecimal digits", value)
    return file


def _entries(where: str, table: Any, kinds: Mapping[str, type], required: set[str]) -> dict[str, Any]:
    _expect(isinstance(table, dict), where, "a table", type(table).__name__)
    for name, value in table.items():
        _expect(name in kinds, where, f"entries among {', '.join(kinds)}", name)
        _expect(type(value) is kinds[name], f"{where}.{name}", kinds[name].__name__, type(value).__name__)
    for name in required - table.keys():
        raise ModelError(f"{where}: the entry {name!r} is missing")
    return dict(table)


def _expect(good: object, where: str, expected: str, got: object) -> None:
    if not good:
        raise ModelError(f"{where}: expected {expected}, got {str(got)[:80]}")
