"""Model files: a TFLite flatbuffer with an appended ZIP that contains `manifest.json`.

TFLite's own metadata is stored in the same way. Both interpreters ignore the bytes after the flatbuffer, and `zipfile`
and `unzip model.tflite` can read the ZIP.

The manifest contains the length and SHA-256 of the flatbuffer. They are checked before a network is loaded, because the
interpreters crash on damaged files. The length must be equal to the offset of the ZIP, so that the hash covers all
bytes that the interpreter reads. The hash detects damage, but does not prove who made the file: pin the hash of a
trusted model with `--sha256`.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import ModelError, NoManifestError
from ..io import file_kind
from ..io.atomic import replace_file
from . import zip_reader
from .manifest import ModelManifest

_MANIFEST_NAME = "manifest.json"
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_BYTES = 1 << 31
"""Maximum size of a TFLite flatbuffer."""
_TFLITE_IDENTIFIER = b"TFL3"


class LoadedModel(NamedTuple):
    """Content of a model file.

    Attributes:
        manifest: The manifest.
        network: The TFLite flatbuffer, checked against length and SHA-256 in the manifest.
    """

    manifest: ModelManifest
    network: bytes


def load(path: Path, sha256: str | None = None) -> LoadedModel:
    """Read and check a model file.

    The file is read only once, so the returned bytes are those that were checked.

    Args:
        path: The model file.
        sha256: Expected SHA-256 of the network; None accepts every network that matches its manifest.

    Raises:
        ModelError: The file is missing or damaged, has no manifest, or its network does not have the hash `sha256`.
    """
    with _open_tflite(path) as (handle, size):
        manifest = _read_manifest_entry(path, handle, size)
        network = os.pread(handle, manifest.flatbuffer_bytes, 0)
        while len(network) < manifest.flatbuffer_bytes:
            piece = os.pread(handle, manifest.flatbuffer_bytes - len(network), len(network))
            if not piece:
                raise ModelError(f"{path}: the file was truncated while it was read; copy it again")
            network += piece
    _check_hash(path, manifest, hashlib.sha256(network).hexdigest(), sha256)
    return LoadedModel(manifest, network)


def read(path: Path, sha256: str | None = None) -> ModelManifest:
    """Read the manifest of a model file and check the hash of the network.

    Args:
        path: The model file.
        sha256: Expected SHA-256 of the network; None accepts every network that matches its manifest.

    Raises:
        ModelError: As for `load`.
    """
    with _open_tflite(path) as (handle, size):
        manifest = _read_manifest_entry(path, handle, size)
        _check_hash(path, manifest, _hash_flatbuffer(handle, manifest.flatbuffer_bytes), sha256)
    return manifest


def read_manifest(path: Path) -> ModelManifest:
    """Read the manifest of a model file without checking the hash of the network.

    Raises:
        ModelError: The file is missing, has no manifest, or the manifest is damaged.
    """
    with _open_tflite(path) as (handle, size):
        return _read_manifest_entry(path, handle, size)


def check_sha256(text: str) -> str:
    """Return a SHA-256 in lower case, without surrounding spaces.

    Raises:
        ValueError: `text` does not have 64 hexadecimal digits.
    """
    value = text.strip().lower()
    if len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError(f"sha256: expected 64 hexadecimal digits, got {text[:80]!r}")
    return value


@contextmanager
def _open_tflite(path: Path) -> Iterator[tuple[int, int]]:
    """Open a regular file that starts like a TFLite file; yield its descriptor and size in bytes."""
    try:
        # O_NONBLOCK prevents blocking on a FIFO without a writer.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot read the model: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            found_kind = file_kind.describe(path, "model")
            what = f"this is {found_kind}" if found_kind else "this is a folder"
            raise ModelError(f"{path}: expected a TFLite model (.tflite), {what}")
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path}: expected a TFLite model, this is not a regular file")
        if not found.st_size:
            raise ModelError(f"{path}: expected a TFLite model, the file is empty")
        if os.pread(handle, 8, 0)[4:] != _TFLITE_IDENTIFIER:
            raise ModelError(
                f"{path}: expected a TFLite model (.tflite), this is {file_kind.describe(path, 'model') or 'not one'}"
            )
        if found.st_size > _MAX_BYTES:
            raise ModelError(
                f"{path}: expected a TFLite model of at most {_MAX_BYTES} bytes, got {found.st_size} bytes"
            )
        yield handle, found.st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror or error}") from None
    finally:
        os.close(handle)


def _read_manifest_entry(path: Path, handle: int, size: int) -> ModelManifest:
    try:
        found = zip_reader.read(handle, size, _MANIFEST_NAME, _MAX_MANIFEST_BYTES)
    except zip_reader.NoZipError:
        if file_kind.is_edge_tpu(path):
            raise ModelError(f"{path}: {file_kind.EDGE_TPU_DESCRIPTION}") from None
        if damage := file_kind.find_damage(path):
            raise ModelError(f"{path}: {damage}") from None
        raise NoManifestError(
            f"{path}: no manifest inside, so input and outputs are unknown; "
            f"add a manifest with `edgepose convert {path.name} -o OUT.tflite`"
        ) from None
    except ValueError as error:
        raise ModelError(f"{path}: damaged: its manifest cannot be read ({error})") from None
    try:
        manifest = ModelManifest.from_json(found.content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if manifest.flatbuffer_bytes != found.offset:
        raise ModelError(
            f"{path}: damaged: the network has {manifest.flatbuffer_bytes} bytes according to its manifest, "
            f"but the file has {found.offset} bytes before the manifest"
        )
    return manifest


def _check_hash(path: Path, manifest: ModelManifest, digest: str, wanted: str | None) -> None:
    if digest != manifest.flatbuffer_sha256:
        raise ModelError(
            f"{path}: damaged: the SHA-256 of the network differs from the one in its manifest; copy the file again"
        )
    if wanted is not None and not hmac.compare_digest(digest, check_sha256(wanted)):
        raise ModelError(f"{path}: the network has the SHA-256 {digest}; expected {wanted}")


def write(path: Path, flatbuffer: bytes, manifest: ModelManifest) -> None:
    """Write a model file atomically. The same input gives the same bytes.

    Args:
        path: The model file.
        flatbuffer: The TFLite network.
        manifest: Its manifest; length and SHA-256 must be those of `read_flatbuffer` (`compute_identity`).

    Raises:
        OutputError: The file cannot be written.
    """
    content = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_MANIFEST_NAME), manifest.to_json())
    with replace_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_flatbuffer(path: Path) -> bytes:
    """Read the network of a TFLite file with or without a manifest: the bytes before an appended ZIP, or all bytes.

    Raises:
        ModelError: The file is missing, is not a TFLite file, or its ZIP covers the network.
    """
    with _open_tflite(path) as (handle, size), open(handle, "rb", closefd=False) as file:
        content = file.read(size)
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            return content
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            length = min((entry.header_offset for entry in archive.infolist()), default=len(content))
    except Exception:  # zipfile raises many types for a damaged archive. Its bytes are then part of the network.
        return content
    if length < 8:
        raise ModelError(f"{path}: damaged: its ZIP covers the network")
    return content[:length]


def compute_identity(network: bytes) -> tuple[str, int]:
    """Return SHA-256 and length of a flatbuffer, as stored in the manifest."""
    return hashlib.sha256(network).hexdigest(), len(network)


def _hash_flatbuffer(handle: int, length: int) -> str:
    digest = hashlib.sha256()
    os.posix_fadvise(handle, 0, length, os.POSIX_FADV_SEQUENTIAL)
    offset = 0
    while offset < length and (chunk := os.pread(handle, min(length - offset, 1 << 20), offset)):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()
