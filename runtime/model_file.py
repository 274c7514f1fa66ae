"""The model file: a TFLite flatbuffer with a ZIP appended that holds `manifest.json`.

The same trick as TFLite's own metadata: both interpreters ignore what follows the flatbuffer, `zipfile` and
`unzip model.tflite` read the ZIP. The manifest holds the flatbuffer's length and SHA-256, and nothing is loaded
before they have been checked, because the interpreters crash on damaged files.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

from . import file_kind
from .errors import ModelError
from .files import atomic
from .manifest import ModelManifest

_ENTRY = "manifest.json"
_MAX_MANIFEST = 1 << 20
_IDENTIFIER = b"TFL3"


def read(path: Path) -> ModelManifest:
    """The manifest of a model file whose network is intact.

    Raises ModelError where the file is missing, damaged or has no manifest.
    """
    manifest = read_manifest(path)
    size = path.stat().st_size
    if size < manifest.flatbuffer_bytes:
        raise ModelError(f"{path}: truncated: {size} bytes, its network alone has {manifest.flatbuffer_bytes}")
    if _sha256(path, manifest.flatbuffer_bytes) != manifest.flatbuffer_sha256:
        raise ModelError(f"{path}: damaged: the network does not have the hash its manifest names; copy it again")
    return manifest


def read_manifest(path: Path) -> ModelManifest:
    """The manifest alone, without a look at the network."""
    check_tflite(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_ENTRY).file_size > _MAX_MANIFEST:
                raise ModelError(f"{path}: its manifest is larger than {_MAX_MANIFEST} bytes")
            text = archive.read(_ENTRY)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, OSError, RuntimeError, EOFError, ValueError) as error:
        if isinstance(error, KeyError) or "not a zip" in str(error):
            if file_kind.is_edge_tpu(path):
                raise ModelError(f"{path}: {file_kind.EDGE_TPU}") from None
            raise ModelError(
                f"{path}: no manifest inside, so input and outputs are unknown; "
                f"`edgepose convert {path.name} -o OUT.tflite` adds one"
            ) from None
        raise ModelError(f"{path}: damaged: its manifest cannot be read ({error})") from None
    except Exception as error:  # zlib.error and what else a damaged archive makes zipfile raise
        raise ModelError(f"{path}: damaged: its manifest cannot be read ({error})") from None
    try:
        return ModelManifest.from_json(text)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def write(path: Path, flatbuffer: bytes, manifest: ModelManifest) -> None:
    """Writes network and manifest; the same input gives the same bytes."""
    with atomic(path) as temporary:
        temporary.write_bytes(flatbuffer)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(zipfile.ZipInfo(_ENTRY), manifest.to_json())


def flatbuffer(path: Path) -> bytes:
    """The network alone: what precedes an appended ZIP, or the whole file."""
    check_tflite(path)
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return content[: min((entry.header_offset for entry in archive.infolist()), default=len(content))]
    return content


def identity(network: bytes) -> tuple[str, int]:
    """Hash and length as the manifest holds them."""
    return hashlib.sha256(network).hexdigest(), len(network)


def check_tflite(path: Path) -> None:
    """Raises ModelError unless `path` is a readable file that begins as TFLite files do."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from None
    if not head:
        raise ModelError(f"{path}: expected a TFLite model, the file is empty")
    if head[4:] != _IDENTIFIER:
        raise ModelError(f"{path}: expected a TFLite model (.tflite), this is {file_kind.describe(path) or 'not one'}")


def _sha256(path: Path, length: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, length, os.POSIX_FADV_SEQUENTIAL)
        while length > 0 and (chunk := file.read(min(length, 1 << 20))):
            digest.update(chunk)
            length -= len(chunk)
    return digest.hexdigest()
