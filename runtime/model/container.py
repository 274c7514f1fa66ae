"""The model file: a TFLite flatbuffer with a ZIP appended that holds `manifest.json`.

The same trick as TFLite's own metadata: both interpreters ignore what follows the flatbuffer, `zipfile` and
`unzip model.tflite` read the ZIP. The manifest holds the flatbuffer's length and SHA-256, and nothing is loaded
before they have been checked, because the interpreters crash on damaged files. The length must be the offset at which
the ZIP begins, so that the hash covers everything the interpreter reads. The hash finds damage. It does not say who
made the file: pin the hash of a model that you trust (`--sha256`).
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

from ..errors import ModelError
from ..io import file_kind
from ..io.atomic import atomic
from . import zip_reader
from .manifest import ModelManifest

_ENTRY = "manifest.json"
_MAX_MANIFEST = 1 << 20
_MAX_BYTES = 1 << 31
"""No TFLite flatbuffer is larger."""
_IDENTIFIER = b"TFL3"


class Model(NamedTuple):
    """A manifest, and the bytes that were checked against it: what the interpreter loads."""

    manifest: ModelManifest
    network: bytes


def load(path: Path, sha256: str | None = None) -> Model:
    """Read a model file once and check it.

    Args:
        path: The file.
        sha256: The hash that the network must have; None accepts any that the manifest confirms.

    Raises:
        ModelError: The file is missing or damaged, has no manifest, or has another hash than `sha256`.
    """
    with _opened(path) as (handle, size):
        manifest = _manifest(path, handle, size)
        network = os.pread(handle, manifest.flatbuffer_bytes, 0)
        while len(network) < manifest.flatbuffer_bytes:
            piece = os.pread(handle, manifest.flatbuffer_bytes - len(network), len(network))
            if not piece:
                raise ModelError(f"{path}: truncated while it was read")
            network += piece
    _check(path, manifest, hashlib.sha256(network).hexdigest(), sha256)
    return Model(manifest, network)


def read(path: Path, sha256: str | None = None) -> ModelManifest:
    """Read the manifest of a model file whose network is intact.

    Raises:
        ModelError: As `load`.
    """
    with _opened(path) as (handle, size):
        manifest = _manifest(path, handle, size)
        _check(path, manifest, _sha256(handle, manifest.flatbuffer_bytes), sha256)
    return manifest


def read_manifest(path: Path) -> ModelManifest:
    """Read the manifest alone, without a look at the network."""
    with _opened(path) as (handle, size):
        return _manifest(path, handle, size)


def check_sha256(text: str) -> str:
    """Return a SHA-256 in lower case. Raises ValueError if it is not one."""
    value = text.strip().lower()
    if len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError(f"sha256: expected 64 hexadecimal digits, got {text[:80]!r}")
    return value


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Descriptor and size of a regular file that begins as TFLite files do."""
    try:
        # O_NONBLOCK: a FIFO without a writer must not block.
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
        if os.pread(handle, 8, 0)[4:] != _IDENTIFIER:
            raise ModelError(
                f"{path}: expected a TFLite model (.tflite), this is {file_kind.describe(path, 'model') or 'not one'}"
            )
        if found.st_size > _MAX_BYTES:
            raise ModelError(f"{path}: has {found.st_size} bytes; a TFLite model has at most {_MAX_BYTES}")
        yield handle, found.st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror or error}") from None
    finally:
        os.close(handle)


def _manifest(path: Path, handle: int, size: int) -> ModelManifest:
    try:
        found = zip_reader.read(handle, size, _ENTRY, _MAX_MANIFEST)
    except zip_reader.NoContainerError:
        if file_kind.is_edge_tpu(path):
            raise ModelError(f"{path}: {file_kind.EDGE_TPU}") from None
        if damage := file_kind.find_damage(path):
            raise ModelError(f"{path}: {damage}") from None
        raise ModelError(
            f"{path}: no manifest inside, so input and outputs are unknown; "
            f"`edgepose convert {path.name} -o OUT.tflite` adds one"
        ) from None
    except ValueError as error:
        raise ModelError(f"{path}: damaged: its manifest cannot be read ({error})") from None
    try:
        manifest = ModelManifest.from_json(found.content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if manifest.flatbuffer_bytes != found.offset:
        raise ModelError(
            f"{path}: damaged: its manifest says that the network has {manifest.flatbuffer_bytes} bytes, "
            f"the file has {found.offset} before the manifest"
        )
    return manifest


def _check(path: Path, manifest: ModelManifest, digest: str, wanted: str | None) -> None:
    if digest != manifest.flatbuffer_sha256:
        raise ModelError(f"{path}: damaged: the network does not have the hash its manifest names; copy it again")
    if wanted is not None and not hmac.compare_digest(digest, check_sha256(wanted)):
        raise ModelError(f"{path}: the network has the SHA-256 {digest}; expected {wanted}")


def write(path: Path, flatbuffer: bytes, manifest: ModelManifest) -> None:
    """Writes network and manifest; the same input gives the same bytes."""
    content = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_ENTRY), manifest.to_json())
    with atomic(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def flatbuffer(path: Path) -> bytes:
    """Read the network alone: what precedes an appended ZIP, or the whole file."""
    with _opened(path) as (handle, size), open(handle, "rb", closefd=False) as file:
        content = file.read(size)
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            return content
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            length = min((entry.header_offset for entry in archive.infolist()), default=len(content))
    except Exception:  # a damaged archive makes zipfile raise nearly anything; then it is part of the network
        return content
    if length < 8:
        raise ModelError(f"{path}: damaged: its ZIP covers the network")
    return content[:length]


def identity(network: bytes) -> tuple[str, int]:
    """Hash and length as the manifest holds them."""
    return hashlib.sha256(network).hexdigest(), len(network)


def _sha256(handle: int, length: int) -> str:
    digest = hashlib.sha256()
    os.posix_fadvise(handle, 0, length, os.POSIX_FADV_SEQUENTIAL)
    offset = 0
    while offset < length and (chunk := os.pread(handle, min(length - offset, 1 << 20), offset)):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()
