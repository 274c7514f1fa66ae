"""Arrays from malicious files: no code of the file runs, memory is not corrupted and not exhausted."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.importers import npz
from edgepose.runtime.errors import ModelError

from ..conftest import run_edgepose


class Call:
    """Object whose pickle calls a function and then sets a state."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.parts = (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def write_npy(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(content)


def pickle_objects_without_flag() -> bytes:
    """Return an object array whose dtype claims to contain no objects, so its raw bytes would be used as pointers."""
    dtype = Call(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    reconstruct = np.empty(0).__reduce__()[0]
    array = Call(reconstruct, (np.ndarray, (0,), b"b"), (1, (), dtype, False, b"\x41" * 8))
    return pickle.dumps({"a": array, "b": {"c": array}}, protocol=2)


@pytest.mark.convert
def test_an_object_array_made_of_raw_bytes_is_refused(tmp_path: Path) -> None:
    write_npy(tmp_path / "harm.npy", pickle_objects_without_flag())
    result = run_edgepose("convert", tmp_path / "harm.npy", "-o", tmp_path / "out.tflite")
    assert (result.returncode, result.stdout) == (2, ""), result
    progress, error = result.stderr.splitlines()
    assert progress.startswith("edgepose: importing"), result.stderr
    assert "harm.npy: damaged weights" in error
    assert not (tmp_path / "out.tflite").exists()


def make_array_state(state: Any, code: Any = "f4", order: str = "<") -> bytes:
    dtype = Call(np.dtype, (code, False, True), (3, order, None, None, None, -1, -1, 0))
    shape, content = state
    reconstruct = np.empty(0).__reduce__()[0]
    return pickle.dumps(
        {"a": Call(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, content))}, protocol=2
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (make_array_state(((4,), b"\0" * 15)), "number of bytes"),
        (make_array_state(((-4,), b"")), "valid shape"),
        (make_array_state(((True,), b"\0" * 4)), "valid shape"),
        (make_array_state(((1 << 40,), b"")), "at most"),
        (make_array_state(((1,), b"\0" * 8), "O8"), "has more than one object"),
        (make_array_state(((1,), b"\0" * 8), "M8"), "dtype"),
        (make_array_state(((1,), b"\0" * 8), "V8"), "dtype"),
        (make_array_state(((1,), b"\0" * 16), "c16"), "dtype"),
        (make_array_state(((1,), b"\0" * 4), "f4", "!"), "byte order"),
        (make_array_state(((1,), b"\0" * 4), "i4,i4"), "dtype"),
        (b"\x80\x02}r\xff\xff\xff\xff.", "memo index"),
        (b"\x80\x02cos\nsystem\n.", "only arrays are accepted"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "sets attributes of a function"),
        (b"\x80\x02cnumpy\ndtype\nN}X\x09\x00\x00\x00_functionNs\x86b.", "sets attributes of a function"),
        (b"\x80\x02P1\n.", "opcode PERSID"),
    ],
)
def test_a_pickle_that_is_no_dictionary_of_arrays_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_npy(tmp_path / "bad.npy", content)
    with pytest.raises(ModelError, match=message) as error:
        npz.load(tmp_path / "bad.npy")
    assert "\n" not in str(error.value)


def test_dictionaries_that_hold_each_other_many_times_are_refused(tmp_path: Path) -> None:
    inner: dict[str, Any] = {"a": np.zeros(1)}
    for _ in range(28):
        inner = {"a": inner, "b": inner}
    write_npy(tmp_path / "laughs.npy", pickle.dumps(inner, protocol=2))
    with pytest.raises(ModelError, match="expected at most 100000"):
        npz.load(tmp_path / "laughs.npy")


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "u1", "<i8", "?"])
def test_good_dictionaries_are_read(tmp_path: Path, protocol: int, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = {"one": {"weights": array, "biases": np.asfortranarray(array[0])}, b"two": array[:, :, 0].copy()}
    write_npy(tmp_path / "good.npy", pickle.dumps(np.array(content, dtype=object), protocol=protocol))
    found = npz.load(tmp_path / "good.npy")
    np.testing.assert_array_equal(found["one/weights"], array)
    np.testing.assert_array_equal(found["one/biases"], array[0])
    np.testing.assert_array_equal(found["two"], array[:, :, 0])
    assert found["two"].dtype == np.dtype(dtype).newbyteorder("=")


def make_npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.npy", make_npy_header((1 << 25,), "<f4"))


def too_large(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.npy", make_npy_header((1 << 40,), "<f4") + bytes(100))


def repeated(archive: zipfile.ZipFile) -> None:
    for _ in range(2):
        archive.writestr("a.npy", make_npy_header((1,), "<f4") + bytes(4))


def objects(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.npy", make_npy_header((), "|O") + pickle.dumps(1))


def structured(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.npy", make_npy_header((1,), "<M8[s]") + bytes(8))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (bomb, "truncated"),
        (too_large, "expected at most"),
        (repeated, "same name"),
        (objects, "expected arrays of integers or floats"),
        (structured, "expected arrays of integers or floats"),
    ],
)
def test_an_archive_that_promises_more_than_it_has_is_refused(
    tmp_path: Path, fill: Callable[[zipfile.ZipFile], None], message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        fill(archive)
    with pytest.raises(ModelError, match=message) as error:
        npz.load(tmp_path / "bad.npz")
    assert "\n" not in str(error.value)
