"""Builder of TFLite flatbuffers.

TensorFlow's converter chooses scales itself. This builder writes exactly those scales, integers and operators that the
plan contains. The file format is defined by TFLite's schema.fbs, the rules for integers by TFLite's 8-bit quantization
specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.model.tflite_schema import load_schema, pack_model
from ...runtime.types import Quantization

_OPERATOR_VERSIONS = {
    "ADD": (2, 5), "CONCATENATION": (2, 3), "CONV_2D": (3, 4), "DEPTHWISE_CONV_2D": (3, 5), "DEQUANTIZE": (2, 3),
    "LOGISTIC": (2, 3), "MAX_POOL_2D": (2, 3), "MUL": (2, 4), "PAD": (2, 3), "QUANTIZE": (1, 2),
    "RESIZE_BILINEAR": (3, 4), "RESIZE_NEAREST_NEIGHBOR": (3, 4), "SLICE": (2, 4), "TANH": (2, 3),
}  # fmt: skip
"""Version of each operator for int8 and float, and for int16; (1, 1) if not listed. An interpreter refuses versions
that it does not know."""


class TfliteBuilder:
    """Collects the tensors and operators of a network and builds the flatbuffer.

    Attributes:
        operator_counts: How often each operator was added, by its name in the schema.
    """

    def __init__(self) -> None:
        self._schema = load_schema("quantization")
        self._types = {name: getattr(self._schema.TensorType, name.upper()) for name in
                       ("float32", "int8", "int16", "uint8", "int32", "int64")}  # fmt: skip
        self._buffers = [self._schema.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._code_list: list[Any] = []
        self.operator_counts: dict[str, int] = {}

    def add_tensor(self, name: str, shape: Sequence[int], dtype: str, quantization: Quantization | None = None) -> int:
        """Add a tensor that an operator computes, and return its index.

        Args:
            name: Name of the tensor.
            shape: Shape with the batch dimension.
            dtype: "float32", "int8", "int16", "uint8", "int32" or "int64".
            quantization: Scale and zero point, None for float32.
        """
        return self._add_tensor(name, shape, dtype, 0, *_split_quantization(quantization))

    def add_constant(
        self, name: str, values: npt.NDArray[Any], scales: npt.NDArray[np.float64] | None = None, axis: int = 0
    ) -> int:
        """Add a tensor with constant values, and return its index.

        Args:
            name: Name of the tensor.
            values: Its values, of any dtype that `add_tensor` allows.
            scales: Scales of quantized values along `axis` (per-channel quantization, zero point 0), or None.
            axis: Quantized dimension.
        """
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        zeros = None if scales is None else np.zeros(len(scales), np.int64)
        return self._add_tensor(name, values.shape, str(values.dtype), len(self._buffers) - 1, scales, zeros, axis)

    def add_operator(
        self, op: str, inputs: Sequence[int], output: int, options: Any = None, is_int16: bool = False
    ) -> None:
        """Add an operator.

        Args:
            op: Name in the schema's `BuiltinOperator`, such as "CONV_2D".
            inputs: Indices of the input tensors.
            output: Index of the tensor that it computes.
            options: Result of `make_options`, or None.
            is_int16: True for an operator on int16: it has another version.
        """
        version = _OPERATOR_VERSIONS.get(op, (1, 1))[is_int16]
        if (op, version) not in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode = getattr(self._schema.BuiltinOperator, op)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = version
            self._codes[op, version] = len(self._code_list)
            self._code_list.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes[op, version]
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            operator.builtinOptions = options
            option_type = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, option_type)
        self._operators.append(operator)
        self.operator_counts[op] = self.operator_counts.get(op, 0) + 1

    def make_options(self, table: str, **values: Any) -> Any:
        """Make the options of an operator.

        Args:
            table: Name of the options in the schema without the suffix, such as "Conv2D".
            **values: Fields of the options.

        Raises:
            TypeError: The options have no such field.
        """
        options = getattr(self._schema, f"{table}OptionsT")()
        for name, value in values.items():
            if not hasattr(options, name):
                raise TypeError(f"{table} has no option {name}")
            setattr(options, name, value)
        return options

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Build the flatbuffer; `inputs` and `outputs` are the indices of the network's tensors."""
        graph = self._schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = self._schema.ModelT()
        model.version, model.description = 3, "edgepose"
        model.operatorCodes, model.subgraphs, model.buffers = self._code_list, [graph], self._buffers
        return pack_model(model)

    def _add_tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        buffer: int,
        scales: npt.NDArray[np.float64] | None,
        zero_points: npt.NDArray[np.int64] | None,
        axis: int = 0,
    ) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, np.array(shape, np.int32), buffer
        tensor.type = self._types[dtype]
        if scales is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = scales.astype(np.float32)
            tensor.quantization.zeroPoint = zero_points
            tensor.quantization.quantizedDimension = axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _split_quantization(
    quantization: Quantization | None,
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.int64] | None]:
    if quantization is None:
        return None, None
    return np.array([quantization.scale]), np.array([quantization.zero_point], np.int64)
