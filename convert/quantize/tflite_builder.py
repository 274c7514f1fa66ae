"""A TFLite flatbuffer put together tensor by tensor.

TensorFlow's converter chooses scales itself; here every scale, integer and operator is the one the plan names.
Source of the format: TFLite's schema.fbs; of the rules for integers: TFLite's quantization specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.types import Quantization
from ..exporters.tensorflow_quiet import import_tensorflow

_IDENTIFIER = b"TFL3"
_VERSIONS = {
    "ADD": (2, 5), "CONCATENATION": (2, 3), "CONV_2D": (3, 4), "DEPTHWISE_CONV_2D": (3, 5), "DEQUANTIZE": (2, 3),
    "MAX_POOL_2D": (2, 3), "PAD": (2, 3), "QUANTIZE": (1, 2), "RESIZE_BILINEAR": (3, 4), "SLICE": (2, 4),
}  # fmt: skip
"""Of the operators: for int8 and float, and for int16. An interpreter refuses versions it does not know."""


def schema() -> Any:
    """The classes of the flatbuffer, as TensorFlow generates them."""
    import_tensorflow()
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


class TfliteBuilder:
    """Collects tensors and operators; tensors are numbered."""

    def __init__(self) -> None:
        self._s = schema()
        self._types = {name: getattr(self._s.TensorType, name.upper()) for name in
                       ("float32", "int8", "int16", "uint8", "int32", "int64")}  # fmt: skip
        self._buffers = [self._s.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._code_list: list[Any] = []
        self.counts: dict[str, int] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: str, quantization: Quantization | None = None) -> int:
        """A map that an operator will write."""
        return self._add(name, shape, dtype, 0, *_per_tensor(quantization))

    def constant(
        self, name: str, values: npt.NDArray[Any], scales: npt.NDArray[np.float64] | None = None, axis: int = 0
    ) -> int:
        """Constants; `scales` along `axis` where they are integers that stand for real numbers."""
        buffer = self._s.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        zeros = None if scales is None else np.zeros(len(scales), np.int64)
        return self._add(name, values.shape, str(values.dtype), len(self._buffers) - 1, scales, zeros, axis)

    def operator(self, op: str, inputs: Sequence[int], output: int, options: Any = None, wide: bool = False) -> None:
        """An operator by the schema's name; `wide`: on int16."""
        version = _VERSIONS.get(op, (1, 1))[wide]
        if (op, version) not in self._codes:
            code = self._s.OperatorCodeT()
            code.builtinCode = getattr(self._s.BuiltinOperator, op)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = version
            self._codes[op, version] = len(self._code_list)
            self._code_list.append(code)
        made = self._s.OperatorT()
        made.opcodeIndex = self._codes[op, version]
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(self._s.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(made)
        self.counts[op] = self.counts.get(op, 0) + 1

    def options(self, kind: str, **values: Any) -> Any:
        """Options of an operator, such as `Conv2D`, with their values."""
        made = getattr(self._s, f"{kind}OptionsT")()
        for name, value in values.items():
            if not hasattr(made, name):
                raise TypeError(f"{kind} has no option {name}")
            setattr(made, name, value)
        return made

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The flatbuffer."""
        import flatbuffers

        graph = self._s.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = self._s.ModelT()
        model.version, model.description = 3, "edgepose"
        model.operatorCodes, model.subgraphs, model.buffers = self._code_list, [graph], self._buffers
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def _add(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        buffer: int,
        scales: npt.NDArray[np.float64] | None,
        zero_points: npt.NDArray[np.int64] | None,
        axis: int = 0,
    ) -> int:
        tensor = self._s.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, np.array(shape, np.int32), buffer
        tensor.type = self._types[dtype]
        if scales is not None:
            tensor.quantization = self._s.QuantizationParametersT()
            tensor.quantization.scale = scales.astype(np.float32)
            tensor.quantization.zeroPoint = zero_points
            tensor.quantization.quantizedDimension = axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _per_tensor(
    quantization: Quantization | None,
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.int64] | None]:
    if quantization is None:
        return None, None
    return np.array([quantization.scale]), np.array([quantization.zero_point], np.int64)
