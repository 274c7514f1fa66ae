"""List of known models: a TOML file with one table per model. docs/reference/models.md describes the entries."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .. import schema
from ..errors import ModelError
from ..io.read_file import read_text


@dataclass(frozen=True)
class UrlSource:
    """URL of a file."""

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
    """A file of published weights.

    Attributes:
        name: File name.
        sources: Where it is published, tried in this order.
        sha256: SHA-256; "" if only `git_blob` is known.
        git_blob: SHA-1 of the git blob, for files without another published hash.
        bytes: Length; 0 if it is not known.
    """

    name: str
    sources: tuple[UrlSource | PackageSource, ...]
    sha256: str = ""
    git_blob: str = ""
    bytes: int = 0

    def matches(self, path: Path) -> bool:
        """Return whether the file at `path` has this length and hash."""
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
    """A published model. `files[0]` is the input of `edgepose convert`."""

    name: str
    network: str
    """Name of its definition in `edgepose.convert.networks`."""
    files: tuple[WeightFile, ...]
    license: str
    published: str
    input_size: tuple[int, int]
    """Default width and height of the converted model."""
    published_ap: float | None = None
    needs_calibration: bool = False


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_VERSION = r"[A-Za-z0-9][A-Za-z0-9._+!-]*"


@dataclass(frozen=True)
class SourceEntry:
    """A place of a file: `url`, or the other three keys.

    Attributes:
        url: Address of the file, `http://` or `https://`; None: see the other keys.
        project: Project on the Python package index whose source distribution contains the file; None: `url` is used.
        version: Version of the project; None: `url` is used.
        member: Path in the archive, without its top folder; None: `url` is used.
    """

    url: str | None = None
    project: str | None = None
    version: str | None = None
    member: str | None = None


@dataclass(frozen=True)
class FileEntry:
    """A file of weights.

    Attributes:
        name: File name. `edgepose convert` reads the first file of a model.
        url: Address of the file, `http://` or `https://`; None: `sources` is required.
        sources: Several places of the file, tried in this order; None: `url` is required.
        sha256: SHA-256 of the file; "": `git_blob` is required.
        git_blob: SHA-1 of the git blob, for files without another published hash; "": `sha256` is required.
        bytes: Length of the file; 0 if it is not known.
    """

    name: str
    url: str | None = None
    sources: tuple[SourceEntry, ...] | None = None
    sha256: str = ""
    git_blob: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class ModelEntry:
    """A model, in the list.

    Attributes:
        network: Network of the weights; `edgepose models` lists the names.
        files: The files of the weights.
        license: License of the weights.
        published: Where the weights come from.
        input_size: Default width and height of the converted model, such as `448x336`.
        published_ap: COCO AP that the authors have published; None: unknown.
        needs_calibration: The network was published in training mode: its batch normalization needs images.
    """

    network: str
    files: tuple[FileEntry, ...]
    license: str
    published: str
    input_size: str
    published_ap: float | None = None
    needs_calibration: bool = False


def read_list(path: Path) -> tuple[KnownModel, ...]:
    """Read a list of models.

    Raises:
        ModelError: An entry is missing, unknown or wrong; the message names file and entry.
    """
    try:
        tables = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a readable list of models: {error}") from None
    return tuple(_read_model(f"{path}: {name}", name, table) for name, table in tables.items())


def _read_model(where: str, name: str, table: object) -> KnownModel:
    _expect(re.fullmatch(_NAME, name), where, "a name of letters, digits, dots, hyphens and underscores", name)
    try:
        entry = schema.build(ModelEntry, table, where, strict=True)
    except ValueError as error:
        raise ModelError(str(error)) from None
    size = re.fullmatch(r"(\d{2,4})x(\d{2,4})", entry.input_size)
    _expect(size, f"{where}.input_size", "WIDTHxHEIGHT", entry.input_size)
    assert size is not None
    _expect(entry.files, f"{where}.files", "one file or more", "none")
    return KnownModel(
        name=name,
        network=entry.network,
        files=tuple(_check_file(f"{where}.files[{i}]", file) for i, file in enumerate(entry.files)),
        license=entry.license,
        published=entry.published,
        input_size=(int(size[1]), int(size[2])),
        published_ap=entry.published_ap,
        needs_calibration=entry.needs_calibration,
    )


def _check_file(where: str, entry: FileEntry) -> WeightFile:
    # The name becomes part of a path: it must not lead elsewhere.
    _expect(re.fullmatch(_NAME, entry.name), f"{where}.name", "a file name", entry.name)
    if entry.url is not None and entry.sources is None:
        sources: tuple[UrlSource | PackageSource, ...] = (_check_url(f"{where}.url", entry.url),)
    else:
        _expect(entry.url is None and entry.sources is not None, where, "either url or sources", "both or neither")
        _expect(entry.sources, f"{where}.sources", "one source or more", "none")
        listed = enumerate(entry.sources or ())
        sources = tuple(_check_source(f"{where}.sources[{i}]", source) for i, source in listed)
    hashes = {"sha256": (entry.sha256, 64), "git_blob": (entry.git_blob, 40)}
    given = {name: value for name, (value, _) in hashes.items() if value}
    _expect(len(given) == 1, where, "either sha256 or git_blob", " and ".join(given) or "neither")
    for name, value in given.items():
        length = hashes[name][1]
        _expect(re.fullmatch(rf"[0-9a-f]{{{length}}}", value), f"{where}.{name}", f"{length} hexadecimal digits", value)
    return WeightFile(entry.name, sources, entry.sha256, entry.git_blob, entry.bytes)


def _check_source(where: str, entry: SourceEntry) -> UrlSource | PackageSource:
    if entry.url is not None:
        _expect(entry.project is entry.version is entry.member is None, where, "only url", "url and other keys")
        return _check_url(f"{where}.url", entry.url)
    for name in ("project", "version", "member"):
        if getattr(entry, name) is None:
            raise ModelError(f"{where}: {name!r} is missing")
    source = PackageSource(entry.project or "", entry.version or "", entry.member or "")
    _expect(re.fullmatch(_NAME, source.project), f"{where}.project", "the name of a project", source.project)
    _expect(re.fullmatch(_VERSION, source.version), f"{where}.version", "a version", source.version)
    parts = source.member.split("/")
    _expect(all(part not in ("", ".", "..") for part in parts), f"{where}.member", "a relative path", source.member)
    return source


def _check_url(where: str, url: str) -> UrlSource:
    try:
        address = urlsplit(url)
    except ValueError:
        address = urlsplit("")
    _expect(address.scheme in ("http", "https") and address.hostname, where, "http(s)://...", url)
    return UrlSource(url)


def _expect(good: object, where: str, expected: str, got: object) -> None:
    if not good:
        raise ModelError(f"{where}: expected {expected}, got {str(got)[:80]}")
