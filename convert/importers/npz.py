"""Reads dictionaries of weights: `.npz`, and `.npy` as caffe-tensorflow and CMU's `openpose_coco.npy` have it.

A `.npy` file with a dictionary is a pickle. It is read by a restricted unpickler that runs no code of NumPy: every name
in the pickle maps to an inert class of this module, and arrays are built from bytes whose length has been checked.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...runtime.errors import ModelError
from .limits import MAX_FILE_BYTES, Budget, check_elements
from .weights import Arrays

MAX_NESTING = 32
"""Dictionaries inside dictionaries. Published files have one level."""
MAX_DIMENSIONS = 8
_DTYPES = {
    kind + str(size) for kind, sizes in {"i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}.items() for size in sizes
} | {"b1"}


class _Dtype:
    """Stands for `numpy.dtype`: keeps the code and the byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or (text != "O8" and text not in _DTYPES):
            raise pickle.UnpicklingError(f"an array has the dtype {str(text)[:20]!r}; expected integers or floats")
        self.code, self.order = text, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array has a dtype without byte order")
        self.order = order

    @property
    def is_object(self) -> bool:
        return self.code == "O8"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype("?") if self.code == "b1" else np.dtype(self.order + self.code)


class _Array:
    """Stands for `numpy.ndarray` until the pickle is read: keeps shape, dtype and content."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array has a state of another form than NumPy writes")
        self.state = state

    def content(self) -> Any:
        """The array, or what the object array holds."""
        if not self.state:
            raise pickle.UnpicklingError("an array has no content")
        _, shape, dtype, fortran, content = self.state
        if not isinstance(dtype, _Dtype) or not _is_shape(shape):
            raise pickle.UnpicklingError("an array has no valid shape or dtype")
        if dtype.is_object:
            if not isinstance(content, list) or len(content) != 1 or math.prod(shape) != 1:
                raise pickle.UnpicklingError(
                    "an array of objects holds more than a dictionary; only arrays are accepted"
                )
            return content[0]
        if isinstance(content, str):  # Python 2's byte strings, read as latin1
            content = content.encode("latin1")
        kind = dtype.numpy()
        check_elements(shape, "an array")
        if not isinstance(content, bytes) or len(content) != math.prod(shape) * kind.itemsize:
            raise pickle.UnpicklingError(f"an array {shape} of {kind} does not have the number of bytes that it needs")
        array = np.frombuffer(content, kind).reshape(shape, order="F" if fortran is True or fortran == 1 else "C")
        return array.astype(kind.newbyteorder("="))


class _Callable:
    """What a name in a pickle maps to. A pickle can set attributes of objects: these have none that can be set."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("the pickle changes a function")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the pickle changes a function")


def _no_call(*_: Any) -> None:
    raise pickle.UnpicklingError("the pickle calls numpy.ndarray")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, content: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, (), dtype, False, content))
    return array


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "ascii"):
        raise pickle.UnpicklingError("a byte string has an unexpected encoding")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(items)


_ALLOWED: dict[tuple[str, str], _Callable] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Callable(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Callable(_scalar) for core in ("core", "_core")},
    ("numpy", "ndarray"): _Callable(_no_call),
    ("numpy", "dtype"): _Callable(_Dtype),
    ("collections", "OrderedDict"): _Callable(_ordered_dict),
    # How Python 3 writes an empty byte string for Python 2.
    **{(module, "bytes"): _Callable(_empty_bytes) for module in ("builtins", "__builtin__")},
    ("_codecs", "encode"): _Callable(_encode),  # how Python 2's strings are pickled
}
"""All that a pickled dictionary of arrays needs. A pickle may name any function of Python; no other is called."""

_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "BUILD", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
}  # fmt: skip
"""What NumPy's pickles are made of, from protocol 2 to 4."""


def load(path: Path) -> Arrays:
    """Read weights by name. Nested dictionaries (`{"conv1_1": {"weights": ...}}`) become `conv1_1/weights`.

    Raises:
        ModelError: The file is damaged, too large, or holds anything but numeric arrays by name.
    """
    try:
        with path.open("rb") as file:
            content = dict(_npz(file)) if path.suffix == ".npz" else _npy(path, file)
        found = dict(_flat(content, "", Budget()))
    except ModelError as error:
        raise ModelError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read the weights: {error.strerror or error}") from None
    except Exception as error:  # a damaged header, archive or pickle can raise nearly anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"{path}: damaged weights: {reason}") from None
    if not found:
        raise ModelError(f"{path}: expected arrays by name, found none")
    return found


def _npz(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The arrays of an archive, each checked against the length of its member before memory is allocated."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise ModelError("the archive has two members of the same name")
        if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
            raise ModelError(f"the archive unpacks to more than {MAX_FILE_BYTES >> 20} MB")
        for entry in archive.infolist():
            with archive.open(entry) as member:
                yield entry.filename.removesuffix(".npy"), read_array(member, entry.file_size)


def read_array(file: IO[bytes], size: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Read one numeric `.npy` of `size` bytes.

    Raises:
        ModelError: The dtype is not numeric, or the shape does not fit the number of bytes.
    """
    shape, fortran, dtype = _header(file)
    if dtype.kind not in "biuf" or dtype.hasobject or dtype.itemsize > 8:
        raise ModelError(f"expected arrays of integers or floats, got {str(dtype)[:40]}")
    check_elements(shape, "an array")
    needed = math.prod(shape) * dtype.itemsize
    if needed > size:
        raise ModelError(f"truncated: an array {shape} of {dtype} needs {needed} bytes, the file has {size}")
    content = file.read(needed)
    if len(content) != needed:
        raise ModelError(f"truncated: an array {shape} of {dtype} needs {needed} bytes")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format is not known")
    shape, fortran, dtype = readers[version](file)
    if not _is_shape(shape):
        raise ModelError(f"an array has the shape {str(shape)[:60]}")
    return shape, bool(fortran), dtype


def _npy(path: Path, file: IO[bytes]) -> Any:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelError(f"the file is larger than {MAX_FILE_BYTES >> 20} MB")
    shape, _, dtype = _header(file)
    if shape != () or dtype != np.dtype(object):
        raise ModelError(f"expected a dictionary of weights by name, got an array {shape} of {dtype}")
    content = file.read()
    _check_opcodes(content)
    return _Unpickler(io.BytesIO(content), encoding="latin1").load()


def _check_opcodes(content: bytes) -> None:
    """Raise ModelError for opcodes that NumPy does not write, and for a memo larger than the pickle.

    The unpickler allocates the memo for the largest number in the file before it reads on.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name not in _OPCODES:
            raise ModelError(f"the pickle has the instruction {operation.name}; only arrays are accepted")
        if operation.name == "LONG_BINPUT" and (argument or 0) > len(content):
            raise ModelError("the pickle asks for more memory than it has content")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module[:40]}.{name[:40]}; only arrays are accepted")
        return _ALLOWED[module, name]


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(side) is int and side >= 0 for side in shape)
    )


def _flat(content: Any, prefix: str, budget: Budget, depth: int = 0) -> Iterator[tuple[str, Any]]:
    # A dictionary may hold another twice: without limits a small file becomes billions of names.
    budget.count()
    if depth > MAX_NESTING:
        raise ModelError(f"dictionaries are nested more than {MAX_NESTING} deep")
    if isinstance(content, _Array):
        content = content.content()
    if isinstance(content, np.ndarray):
        budget.take(content.shape, prefix)
        yield prefix.removesuffix(":0"), content
        return
    if not isinstance(content, Mapping):
        raise ModelError(f"weights {prefix or '(all)'}: expected arrays by name, got {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str | bytes | int):
            raise ModelError(f"weights {prefix or '(all)'}: expected names, got {type(key).__name__}")
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        yield from _flat(value, f"{prefix}/{name}" if prefix else name, budget, depth + 1)
