"""Reads dictionaries of weights: `.npz`, and `.npy` as caffe-tensorflow and CMU's `openpose_coco.npy` have it."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.runtime.errors import ModelError

from .weights import Arrays

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
}
"""All that a pickled dictionary of arrays needs. A pickle may name any function of Python; no other is called."""


def load(path: Path) -> Arrays:
    """The weights by name. Nested dictionaries (`{"conv1_1": {"weights": ...}}`) become `conv1_1/weights`.

    Raises ModelError where the file is damaged or holds anything but real arrays by name.
    """
    try:
        content = dict(_npz(path)) if path.suffix == ".npz" else _npy(path)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot read the weights: {error.strerror or error}") from None
    except Exception as error:  # a damaged header, archive or pickle can raise nearly anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"{path}: damaged weights: {reason}") from None
    found = dict(_flat(content, ""))
    if not found:
        raise ModelError(f"{path}: expected arrays by name, found none")
    return found


def _npz(path: Path) -> Iterator[tuple[str, Any]]:
    # Opened here: NumPy leaves the file open where it is no archive.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        yield from archive.items()


def _npy(path: Path) -> Any:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"version {version} of the .npy format is not known")
        shape, _, dtype = readers[version](file)
        if shape != () or not dtype.hasobject:
            raise ModelError(f"{path}: expected a dictionary of weights by name, got an array {shape} of {dtype}")
        return _Unpickler(io.BytesIO(file.read()), encoding="latin1").load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 2's strings are pickled
            return _encode
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only arrays are accepted")
        return _ALLOWED[module, name]


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1" if encoding == "latin1" else "ascii")


def _flat(content: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, np.ndarray) and content.dtype != object:
        yield prefix.removesuffix(":0"), content
        return
    if isinstance(content, np.ndarray) and content.shape == ():
        content = content.item()
    if not isinstance(content, Mapping):
        raise ModelError(f"weights {prefix or '(all)'}: expected arrays by name, got {type(content).__name__}")
    for key, value in content.items():
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        yield from _flat(value, f"{prefix}/{name}" if prefix else name)
