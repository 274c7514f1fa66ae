"""Reading of ONNX files: the graph as a protobuf message, operators with their attributes, and tensors.

Only the package `onnx` is needed. Nothing in a file is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import MissingExtraError, ModelError
from ...runtime.io.read_file import is_special_file
from .limits import ImportBudget, check_file_size

Constant = npt.NDArray[Any]

MIN_OPSET, MAX_OPSET = 9, 22
_SIMPLIFY = "simplify the model with onnxsim"
ADVICE = f"{_SIMPLIFY}, or name outputs in front of it with --heatmaps and --pafs"
_DTYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4",
    13: "<u8",
}  # fmt: skip
"""NumPy dtypes by the data type numbers of ONNX."""


@dataclass(frozen=True)
class Operator:
    """Operator of an ONNX graph. An optional input or output that is not used has an empty name."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    """Attributes as protobuf messages, by name."""
    opset: int

    @property
    def label(self) -> str:
        """Description for error messages."""
        return f"operator {self.kind} of node {self.name!r} (opset {self.opset})"

    def refuse(self, reason: str, advice: str = ADVICE) -> ModelError:
        """Return the error for something that cannot be imported."""
        return ModelError(f"{self.label}: {reason}; {advice}")

    def get_int(self, name: str, default: int = 0) -> int:
        """Return an integer attribute."""
        return int(self.attributes[name].i) if name in self.attributes else default

    def get_float(self, name: str, default: float = 0.0) -> float:
        """Return a floating-point attribute."""
        return float(self.attributes[name].f) if name in self.attributes else default

    def get_text(self, name: str, default: str = "") -> str:
        """Return a text attribute."""
        return str(self.attributes[name].s.decode("utf-8", "replace")) if name in self.attributes else default

    def get_ints(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return an attribute with several integers."""
        return tuple(int(i) for i in self.attributes[name].ints) if name in self.attributes else default


class OnnxFile:
    """Graph of an ONNX file.

    Attributes:
        producer: The name of the tool that wrote the file.
        operators: All operators, in the order of the file.
        tensors: The initializers by name, as protobuf messages.
        inputs: The declared shapes of the inputs that are not initializers, by name. An unknown side is None.
        outputs: The names of the outputs.
        shapes: The declared shapes of all other values, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.budget = ImportBudget()
        graph, self.opset, self.producer = _read_graph(path)
        self.operators = [self._make_operator(node) for node in graph.node]
        self.tensors: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.sparse_names = {tensor.values.name for tensor in graph.sparse_initializer}
        self.inputs = {i.name: _read_shape(i) for i in graph.input if i.name not in self.tensors}
        self.outputs = [output.name for output in graph.output]
        self.shapes = {i.name: _read_shape(i) for i in (*graph.value_info, *graph.output)}

    def _make_operator(self, node: Any) -> Operator:
        self.budget.add_item()
        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        name = node.name or (node.output[0] if node.output else "")
        attributes = {attribute.name: attribute for attribute in node.attribute}
        return Operator(kind[:80], name[:200], tuple(node.input), tuple(node.output), attributes, self.opset)

    @cached_property
    def producers(self) -> dict[str, Operator]:
        """The operator that computes each value, by the name of the value."""
        found: dict[str, Operator] = {}
        for operator in self.operators:
            for name in operator.outputs:
                if name and (name in found or name in self.inputs):
                    raise ModelError(f"two operators write {name!r}")
                found[name] = operator
        found.pop("", None)
        return found

    def read_tensor(self, tensor: Any) -> Constant:
        """Read a tensor. Its size is checked before memory is allocated.

        Raises:
            ModelError: The data type is not numeric, the tensor is too large, or its data is missing.
        """
        label = f"tensor {tensor.name[:80]!r}"
        self.budget.add_array(tensor.dims, label)
        if tensor.data_type not in _DTYPES:
            raise ModelError(f"{label} has data type {tensor.data_type}; expected 8 to 64-bit integers or floats")
        if tensor.data_location == 1:
            return self._read_external(tensor, label)
        return np.asarray(import_onnx().numpy_helper.to_array(tensor))

    def _read_external(self, tensor: Any, label: str) -> Constant:
        """Read a tensor from the file beside the model. Only a file in the same folder is opened."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        is_name = location not in ("", "..") and "\0" not in location and Path(location).name == location
        path = self.path.with_name(location) if is_name else self.path
        if not is_name or path.is_symlink():
            raise ModelError(f"{label} is in the file {location[:80]!r}; expected a file in the folder of the model")
        if not path.is_file() or is_special_file(path):
            raise ModelError(f"{label} is in the file {location[:80]!r}, which is missing; copy it beside the model")
        size = path.stat().st_size
        check_file_size(size)
        dtype = np.dtype(_DTYPES[tensor.data_type])
        count = int(np.prod(tensor.dims, dtype=np.int64))
        offset, needed = int(entries.get("offset") or 0), count * dtype.itemsize
        if offset < 0 or offset + needed > size or int(entries.get("length") or needed) != needed:
            raise ModelError(f"{label} is outside of the file {location[:80]!r} (truncated?); copy it again")
        with path.open("rb") as file:
            file.seek(offset)
            return np.frombuffer(file.read(needed), dtype, count).reshape(tuple(tensor.dims))


def import_onnx() -> Any:
    """Import the package `onnx`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("an ONNX model", "onnx", error) from None
    return onnx


def _read_graph(path: Path) -> tuple[Any, int, str]:
    """Read the graph, the opset version and the producer of a file."""
    onnx = import_onnx()
    from google.protobuf.message import DecodeError

    check_file_size(path.stat().st_size)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise ModelError("damaged ONNX model: it is not a protobuf message; download or export it again") from None
    if not model.graph.node:
        raise ModelError("damaged ONNX model: it has no operators; download or export it again")
    if model.functions:
        raise ModelError(f"the model has functions ({model.functions[0].name[:60]}); {_SIMPLIFY}")
    opset = next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ModelError(
            f"the model has opset {opset}; expected {MIN_OPSET} to {MAX_OPSET}: export it again with opset_version=17"
        )
    return model.graph, opset, model.producer_name


def _read_shape(value: Any) -> tuple[int | None, ...] | None:
    """Return the declared shape of a value, or None if it has no shape. An unknown side is None."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(int(side.dim_value) if side.dim_value > 0 else None for side in kind.shape.dim)
