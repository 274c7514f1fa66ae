"""Importer for NumPy weights: `.npz` files, and `.npy` files with a dictionary.

caffe-tensorflow writes such `.npy` files; CMU's `openpose_coco.npy` is one. They are pickles, and are read by a
restricted unpickler that runs no code of NumPy: every name in the pickle maps to a harmless class of this module, and
arrays are built from bytes whose length was checked.
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
from typing import IO, Any, Literal

import numpy as np

from ...runtime.errors import ModelError
from .limits import MAX_FILE_BYTES, ImportBudget, check_elements
from .weights import Arrays

MAX_NESTING = 32
"""Maximum depth of nested dictionaries. Published files have one level."""
MAX_DIMENSIONS = 8
_DTYPES = {
    kind + str(size) for kind, sizes in {"i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}.items() for size in sizes
} | {"b1"}


class _Dtype:
    """Replacement for `numpy.dtype` in a pickle: stores the type code and the byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or (text != "O8" and text not in _DTYPES):
            raise pickle.UnpicklingError(f"an array has the dtype {str(text)[:20]!r}; expected integers or floats")
        self.code, self.order = text, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array has a dtype without a valid byte order")
        self.order = order

    @property
    def is_object(self) -> bool:
        return self.code == "O8"

    def to_numpy(self) -> np.dtype[Any]:
        return np.dtype("?") if self.code == "b1" else np.dtype(self.order + self.code)


class _Array:
    """Replacement for `numpy.ndarray` in a pickle: stores shape, dtype and content until the pickle is read."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array has an invalid state; expected the state that NumPy writes")
        self.state = state

    def get_content(self) -> Any:
        """Return the array, or the single object of an object array."""
        if not self.state:
            raise pickle.UnpicklingError("an array has no content")
        _, shape, dtype, fortran, content = self.state
        if not isinstance(dtype, _Dtype) or not _is_shape(shape):
            raise pickle.UnpicklingError("an array has no valid shape or dtype")
        if dtype.is_object:
            if not isinstance(content, list) or len(content) != 1 or math.prod(shape) != 1:
                raise pickle.UnpicklingError("an object array has more than one object; expected a single dictionary")
            return content[0]
        if isinstance(content, str):  # byte strings of Python 2 are read as latin1
            content = content.encode("latin1")
        numpy_dtype = dtype.to_numpy()
        check_elements(shape, "an array")
        if not isinstance(content, bytes) or len(content) != math.prod(shape) * numpy_dtype.itemsize:
            raise pickle.UnpicklingError(f"an array {shape} of {numpy_dtype} has the wrong number of bytes")
        order: Literal["F", "C"] = "F" if fortran is True or fortran == 1 else "C"
        return np.frombuffer(content, numpy_dtype).reshape(shape, order=order).astype(numpy_dtype.newbyteorder("="))


class _Callable:
    """Function that a name in a pickle maps to.

    A pickle can set attributes of objects. This class has no attributes that can be set.
    """

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("the pickle sets attributes of a function; only arrays are accepted")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the pickle sets attributes of a function; only arrays are accepted")


def _refuse_ndarray_call(*_: Any) -> None:
    raise pickle.UnpicklingError("the pickle calls numpy.ndarray; only arrays as NumPy writes them are accepted")


def _make_array(*_: Any) -> _Array:
    return _Array()


def _make_scalar(dtype: Any, content: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, (), dtype, False, content))
    return array


def _encode_latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "ascii"):
        raise pickle.UnpicklingError(f"a byte string has the encoding {str(encoding)[:20]!r}; expected latin1")
    return text.encode("latin1")


def _make_empty_bytes() -> bytes:
    return b""


def _make_ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(items)


_ALLOWED_NAMES: dict[tuple[str, str], _Callable] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Callable(_make_array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Callable(_make_scalar) for core in ("core", "_core")},
    ("numpy", "ndarray"): _Callable(_refuse_ndarray_call),
    ("numpy", "dtype"): _Callable(_Dtype),
    ("collections", "OrderedDict"): _Callable(_make_ordered_dict),
    # Python 3 writes an empty byte string in this way for Python 2.
    **{(module, "bytes"): _Callable(_make_empty_bytes) for module in ("builtins", "__builtin__")},
    ("_codecs", "encode"): _Callable(_encode_latin1),  # byte strings of Python 2
}
"""All names that a pickled dictionary of arrays uses. A pickle can name any Python function; no others are called."""

_ALLOWED_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "BUILD", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
}  # fmt: skip
"""All opcodes in pickles that NumPy writes with protocols 2 to 4."""


def load(path: Path) -> Arrays:
    """Read weights by name.

    The keys of nested dictionaries are joined: `{"conv1_1": {"weights": ...}}` becomes `conv1_1/weights`.

    Raises:
        ModelError: The file is damaged, too large, or has anything other than numeric arrays by name.
    """
    try:
        with path.open("rb") as file:
            content = dict(_read_npz(file)) if path.suffix == ".npz" else _read_npy(path, file)
        arrays = dict(_flatten(content, "", ImportBudget()))
    except ModelError as error:
        raise ModelError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read the weights: {error.strerror or error}") from None
    except Exception as error:  # a damaged header, archive or pickle can raise nearly any type
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"{path}: damaged weights: {reason}") from None
    if not arrays:
        raise ModelError(f"{path}: expected arrays by name, found none")
    return arrays


def _read_npz(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Read the arrays of an archive. The length of each member is checked before memory is allocated."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise ModelError("the archive has two members with the same name")
        if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
            raise ModelError(f"the archive unpacks to more than {MAX_FILE_BYTES >> 20} MB")
        for entry in archive.infolist():
            with archive.open(entry) as member:
                yield entry.filename.removesuffix(".npy"), read_array(member, entry.file_size)


def read_array(file: IO[bytes], size: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Read one numeric `.npy` file.

    Args:
        file: The file.
        size: The size of the file in bytes.

    Raises:
        ModelError: The dtype is not numeric, or the file is too short for the shape.
    """
    shape, fortran, dtype = _read_header(file)
    if dtype.kind not in "biuf" or dtype.hasobject or dtype.itemsize > 8:
        raise ModelError(f"expected arrays of integers or floats, got {str(dtype)[:40]}")
    check_elements(shape, "an array")
    needed = math.prod(shape) * dtype.itemsize
    if needed > size:
        raise ModelError(f"truncated: an array {shape} of {dtype} needs {needed} bytes, the file has {size}")
    content = file.read(needed)
    if len(content) != needed:
        raise ModelError(f"truncated: an array {shape} of {dtype} needs {needed} bytes, the file has {len(content)}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format is not supported")
    shape, fortran, dtype = readers[version](file)
    if not _is_shape(shape):
        raise ModelError(f"an array has the invalid shape {str(shape)[:60]}")
    return shape, bool(fortran), dtype


def _read_npy(path: Path, file: IO[bytes]) -> Any:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelError(f"the file is larger than {MAX_FILE_BYTES >> 20} MB")
    shape, _, dtype = _read_header(file)
    if shape != () or dtype != np.dtype(object):
        raise ModelError(f"expected a dictionary of weights by name, got an array {shape} of {dtype}")
    content = file.read()
    _check_opcodes(content)
    return _Unpickler(io.BytesIO(content), encoding="latin1").load()


def _check_opcodes(content: bytes) -> None:
    """Check the opcodes of a pickle and the indices of its memo.

    The unpickler allocates a memo for the largest index, so an index larger than the pickle is refused.

    Raises:
        ModelError: There is an opcode that NumPy does not write, or the index of a memo entry is too large.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name not in _ALLOWED_OPCODES:
            raise ModelError(f"the pickle has the opcode {operation.name}; only arrays are accepted")
        if operation.name == "LONG_BINPUT" and (argument or 0) > len(content):
            raise ModelError(f"the pickle has the memo index {argument}; expected at most {len(content)}, its length")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED_NAMES:
            raise pickle.UnpicklingError(f"the pickle imports {module[:40]}.{name[:40]}; only arrays are accepted")
        return _ALLOWED_NAMES[module, name]


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(side) is int and side >= 0 for side in shape)
    )


def _flatten(content: Any, prefix: str, budget: ImportBudget, depth: int = 0) -> Iterator[tuple[str, Any]]:
    # A dictionary can contain another one several times: without limits a small file becomes billions of names.
    budget.add_item()
    if depth > MAX_NESTING:
        raise ModelError(f"dictionaries are nested too deep; expected at most {MAX_NESTING} levels")
    if isinstance(content, _Array):
        content = content.get_content()
    if isinstance(content, np.ndarray):
        budget.add_array(content.shape, prefix)
        yield prefix.removesuffix(":0"), content
        return
    if not isinstance(content, Mapping):
        raise ModelError(f"weights {prefix or '(all)'}: expected arrays by name, got {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str | bytes | int):
            raise ModelError(f"weights {prefix or '(all)'}: expected names, got {type(key).__name__}")
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        yield from _flatten(value, f"{prefix}/{name}" if prefix else name, budget, depth + 1)
