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
from ..io.read_file import read_text


@dataclass(frozen=True)
class UrlSource:
    """The address of a file."""

    url: str


@dataclass(frozen=True)
class PackageSource:
    """A member of a source distribution on the Python package index."""

    project: str
    version: str
    member: str
    """Path inside the archive, without its top folder."""


@dataclass(frozen=True)
class WeightFile:
    """A file of published weights: its name, where it is published, and what it must hash to.

    `sources` are tried in order.

    `git_blob` is git's own hash, for files of which upstream gives no other.
    """

    name: str
    sources: tuple[UrlSource | PackageSource, ...]
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


_FILE_ENTRIES = {"name": str, "url": str, "sources": list, "sha256": str, "git_blob": str, "bytes": int}
_URL_ENTRIES = {"url": str}
_PACKAGE_ENTRIES = {"project": str, "version": str, "member": str}
_MODEL_ENTRIES = {
    "network": str, "published": str, "published_ap": float, "licence": str, "input_size": str,
    "needs_calibration": bool, "files": list,
}  # fmt: skip
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_VERSION = r"[A-Za-z0-9][A-Za-z0-9._+!-]*"


def read_list(path: Path) -> tuple[KnownModel, ...]:
    """The models of a list. Raises ModelError naming file and entry where one is missing, unknown or wrong."""
    try:
        tables = tomllib.loads(read_text(path))
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
    entries = _entries(where, table, _FILE_ENTRIES, {"name"})
    _expect(("url" in entries) != ("sources" in entries), where, "either url or sources", "both or neither")
    url, listed = entries.pop("url", None), entries.pop("sources", None)
    if url is not None:
        sources: tuple[UrlSource | PackageSource, ...] = (_url(f"{where}.url", url),)
    else:
        _expect(listed, f"{where}.sources", "one source or more", "none")
        sources = tuple(_source(f"{where}.sources[{i}]", entry) for i, entry in enumerate(listed))
    file = WeightFile(sources=sources, **entries)
    # The name becomes part of a path: it may not lead elsewhere.
    _expect(re.fullmatch(_NAME, file.name), f"{where}.name", "a file name", file.name)
    hashes = {"sha256": (file.sha256, 64), "git_blob": (file.git_blob, 40)}
    given = {name: value for name, (value, _) in hashes.items() if value}
    _expect(len(given) == 1, where, "either sha256 or git_blob", " and ".join(given) or "neither")
    for name, value in given.items():
        length = hashes[name][1]
        _expect(re.fullmatch(rf"[0-9a-f]{{{length}}}", value), f"{where}.{name}", f"{length} hexadecimal digits", value)
    return file


def _source(where: str, table: Any) -> UrlSource | PackageSource:
    if isinstance(table, dict) and "url" in table:
        return _url(f"{where}.url", _entries(where, table, _URL_ENTRIES, {"url"})["url"])
    source = PackageSource(**_entries(where, table, _PACKAGE_ENTRIES, set(_PACKAGE_ENTRIES)))
    _expect(re.fullmatch(_NAME, source.project), f"{where}.project", "the name of a project", source.project)
    _expect(re.fullmatch(_VERSION, source.version), f"{where}.version", "a version", source.version)
    parts = source.member.split("/")
    _expect(all(part not in ("", ".", "..") for part in parts), f"{where}.member", "a relative path", source.member)
    return source


def _url(where: str, url: str) -> UrlSource:
    address = urlsplit(url)
    _expect(address.scheme in ("http", "https") and address.hostname, where, "http(s)://...", url)
    return UrlSource(url)


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
