"""Export of a quantization plan to TFLite, with conversions only between operators of different dtypes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.types import Quantization
from ..ir import graph as g
from ..ir import macs
from .plan import MapDtype, QuantizationPlan, QuantParams, compute_quant_params, find_fused_activation
from .tflite_builder import TfliteBuilder

_FUSED_ACTIVATIONS: dict[str | None, int] = {None: 0, "relu": 1, "relu6": 3}
_RESIZE_OPERATORS = {
    False: ("RESIZE_BILINEAR", "ResizeBilinear"), True: ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor"),
}  # fmt: skip
_BOUNDED_FUNCTIONS = {"sigmoid": ("LOGISTIC", QuantParams(1 / 256, -128, "int8")),
                      "tanh": ("TANH", QuantParams(1 / 128, 0, "int8"))}  # fmt: skip
"""Activations with the quantization parameters that TFLite prescribes for their results."""
_NO_INTEGER_FORM = "has no integer form; convert to float16 instead"


def write_flatbuffer(plan: QuantizationPlan, width: int, height: int) -> tuple[bytes, Mapping[str, int]]:
    """Write the TFLite file of a plan for images (1, height, width, 3), int8: the bytes minus 128.

    Args:
        plan: Plan of all weights and maps.
        width: Width of the network's input in pixels.
        height: Height of the network's input in pixels.

    Returns:
        The flatbuffer, and how often it uses each operator.

    Raises:
        ModelError: An operator has no integer form.
    """
    return _Writer(plan, width, height).write()


class _Writer:
    """Writer of one plan.

    Attributes:
        tensors: Tensor index of every stored map in each dtype in which it is read.
        params: Quantization parameters of the integer ones.
        done: Names of the nodes that are already written.
    """

    def __init__(self, plan: QuantizationPlan, width: int, height: int) -> None:
        self.plan, self.graph = plan, plan.graph
        self.builder = TfliteBuilder()
        self.sizes = macs.compute_sizes(plan.graph, height, width)
        self.channels = g.count_channels(plan.graph)
        self.tensors: dict[tuple[str, MapDtype], int] = {}
        self.params: dict[tuple[str, MapDtype], QuantParams] = {}
        self.done: set[str] = set()
        self.outputs = {self.graph.heatmaps: "heatmaps", self.graph.pafs: "pafs"}

    def write(self) -> tuple[bytes, Mapping[str, int]]:
        image = self._write_image()
        for name, node in self.graph.nodes.items():
            if name not in self.done:
                self._write_operator(node)
        results = [self.tensors[name, self.plan.get_dtype(name)] for name in self.outputs]
        return self.builder.finish([image], results), self.builder.operator_counts

    def _write_image(self) -> int:
        """Add the input: the bytes of the image minus 128. A constant offset and scale become its quantization.

        With a uint8 input, the interpreter would subtract 128 in an operator of its own, on one thread outside XNNPACK.
        """
        name = self.graph.input.name
        if name not in self.plan.map_params:
            name = self.graph.find_consumers(name)[0].name
        self.done.update({self.graph.input.name, name})
        self.params[name, "int8"] = params = self.plan.map_params[name]
        image = self.builder.add_tensor("image", self._get_shape(name), "int8", _to_quantization(params))
        self.tensors[name, "int8"] = image
        return image

    def _write_operator(self, node: g.Node) -> None:
        name, options = node.name, self.builder.make_options
        match node:
            case g.Conv():
                self._write_convolution(node)
            case g.Activation():
                self._write_activation(node)
            case g.Add():
                self._write_map("ADD", name, node.inputs, options("Add", potScaleInt16=False))
            case g.Multiply():
                self._write_map("MUL", name, node.inputs, options("Mul"))
            case g.DepthToSpace() if self.plan.get_dtype(name) != "int16":
                self._write_map("DEPTH_TO_SPACE", name, node.inputs, options("DepthToSpace", blockSize=node.block))
            case g.Concat():
                self._write_map("CONCATENATION", name, node.inputs, options("Concatenation", axis=3))
            case g.ResizeLike():
                size = self.builder.add_constant(f"{name}/size", np.array(self.sizes[name], np.int32))
                op, table = _RESIZE_OPERATORS[node.nearest]
                operator_options = options(
                    table, halfPixelCenters=node.half_pixel_centers, alignCorners=node.align_corners
                )
                self._write_map(op, name, node.inputs[:1], operator_options, [size])
            case g.MaxPool() if isinstance(node.padding, str):
                window = {"filterHeight": node.window[0], "filterWidth": node.window[1]}
                strides = {"strideH": node.strides[0], "strideW": node.strides[1]}
                operator_options = options("Pool2D", padding=int(node.padding == "VALID"), **window, **strides)
                self._write_map("MAX_POOL_2D", name, node.inputs, operator_options)
            case g.Slice():
                begin = self.builder.add_constant(f"{name}/begin", np.array([0, 0, 0, node.start], np.int32))
                size = self.builder.add_constant(f"{name}/extent", np.array(self._get_shape(name), np.int32))
                self._write_map("SLICE", name, node.inputs, options("Slice"), [begin, size])
            case _:
                raise ModelError(f"{name!r}: the operator {type(node).__name__} {_NO_INTEGER_FORM}")

    def _write_map(
        self, op: str, name: str, sources: tuple[str, ...], options: object, constants: list[int] | None = None
    ) -> None:
        """Write an operator that reads stored maps and computes the stored map `name`."""
        dtype = self.plan.get_dtype(name)
        inputs = [*(self._get_map(source, dtype) for source in sources), *(constants or [])]
        target = self._add_map(name, dtype, self.plan.map_params[name])
        self.builder.add_operator(op, inputs, target, options, is_int16=dtype == "int16")

    def _write_convolution(self, conv: g.Conv) -> None:
        activation = find_fused_activation(self.graph, conv)
        name = conv.name if activation is None else activation.name
        self.done.update({conv.name, name})
        dtype = self.plan.get_dtype(name)
        is_capped = activation is not None and activation.cap is not None
        fused = None if activation is None else "relu" if is_capped else activation.kind
        options = {
            "padding": int(conv.padding != "SAME"), "strideH": conv.strides[0], "strideW": conv.strides[1],
            "dilationHFactor": conv.dilations[0], "dilationWFactor": conv.dilations[1],
            "fusedActivationFunction": _FUSED_ACTIVATIONS[fused],
            **({"depthMultiplier": conv.kernel.shape[3]} if conv.depthwise else {}),
        }  # fmt: skip
        op, table = ("DEPTHWISE_CONV_2D", "DepthwiseConv2D") if conv.depthwise else ("CONV_2D", "Conv2D")
        inputs = [self._pad_input(conv, dtype), *self._add_weights(conv, dtype)]
        operator_options = self.builder.make_options(table, **options)
        if is_capped and dtype == "float32":
            assert activation is not None
            uncapped = self.builder.add_tensor(f"{conv.name}/float", self._get_shape(name), dtype)
            self.builder.add_operator(op, inputs, uncapped, operator_options)
            self._write_cap(activation, uncapped)
            return
        # Integers need no MINIMUM for the cap: equalization scaled every channel that reaches its cap to a range of 1,
        # and the largest integer stands for that value.
        self.builder.add_operator(
            op,
            inputs,
            self._add_map(name, dtype, self.plan.map_params[name]),
            operator_options,
            is_int16=dtype == "int16",
        )

    def _add_weights(self, conv: g.Conv, dtype: MapDtype) -> list[int]:
        """Add kernel and bias in TFLite's axis order, and return their tensor indices."""
        rows, columns, inside, outside = conv.kernel.shape
        quantized = None if dtype == "float32" else self.plan.convs[conv.name]
        kernel = conv.kernel if quantized is None else quantized.kernel
        by_channel = (1, rows, columns, inside * outside)
        kernel = kernel.reshape(by_channel) if conv.depthwise else kernel.transpose(3, 0, 1, 2)
        if quantized is None:
            bias = np.zeros(conv.out_channels, np.float32) if conv.bias is None else conv.bias
            return [
                self.builder.add_constant(f"{conv.name}/kernel", kernel),
                self.builder.add_constant(f"{conv.name}/bias", bias),
            ]
        # The file stores the scale of the weights in float32, so the bias must be converted with that value.
        bias_scale = quantized.scale.astype(np.float32).astype(np.float64) * np.float32(
            self.params[conv.inputs[0], dtype].scale
        )
        limits = np.iinfo(np.int32 if dtype == "int8" else np.int64)
        integers = np.clip(np.rint(quantized.bias / bias_scale), -(2.0**31), 2.0**31 - 1).astype(limits.dtype)
        return [
            self.builder.add_constant(f"{conv.name}/kernel", kernel, quantized.scale, 3 if conv.depthwise else 0),
            self.builder.add_constant(f"{conv.name}/bias", integers, bias_scale),
        ]

    def _write_activation(self, node: g.Activation) -> None:
        """Write an activation that is not fused with a convolution."""
        if node.cap is not None:
            raise ModelError(f"{node.name!r}: an activation with a different limit for each channel {_NO_INTEGER_FORM}")
        name, dtype, options = node.name, self.plan.get_dtype(node.name), self.builder.make_options
        match node.kind:
            case "sigmoid" | "tanh":
                bounded = self._write_bounded(node.kind, node)
                if dtype == "float32":
                    self.tensors[name, dtype] = bounded
                    return
                target = self._add_map(name, dtype, self.plan.map_params[name])
                self.builder.add_operator("QUANTIZE", [bounded], target, options("Quantize"))
            case "swish":
                inputs = [self._get_map(node.inputs[0], dtype), self._write_bounded("sigmoid", node)]
                target = self._add_map(name, dtype, self.plan.map_params[name])
                self.builder.add_operator("MUL", inputs, target, options("Mul"))
            case "leaky_relu":
                self._write_map("LEAKY_RELU", name, node.inputs, options("LeakyRelu", alpha=node.slope))
            case "prelu":
                self._write_map("PRELU", name, node.inputs, None, [self._add_slopes(node, dtype)])
            case _:
                op = {"elu": "ELU", "relu": "RELU", "relu6": "RELU6", "hard_swish": "HARD_SWISH"}[node.kind]
                self._write_map(op, name, node.inputs, options("HardSwish") if op == "HARD_SWISH" else None)

    def _write_bounded(self, kind: str, node: g.Activation) -> int:
        """Write a sigmoid or tanh of the input of `node` and return the tensor of the result."""
        dtype = self.plan.get_dtype(node.name)
        op, params = _BOUNDED_FUNCTIONS[kind]
        label = self.outputs.get(node.name, node.name) if dtype == "float32" and kind == node.kind else None
        quantization = None if dtype == "float32" else _to_quantization(params)
        result = self.builder.add_tensor(
            label or f"{node.name}/{kind}", self._get_shape(node.name), dtype, quantization
        )
        self.builder.add_operator(op, [self._get_map(node.inputs[0], dtype)], result)
        return result

    def _add_slopes(self, node: g.Activation, dtype: MapDtype) -> int:
        """Add the slopes of a PReLU: float, or int8 with one scale."""
        assert node.alpha is not None
        channels = self.channels[node.name]
        slopes = np.broadcast_to(node.alpha.reshape(-1), channels).reshape(1, 1, channels).astype(np.float32)
        if dtype == "float32":
            return self.builder.add_constant(f"{node.name}/slopes", slopes)
        scale = max(float(np.abs(slopes).max()), 1e-9) / 127
        integers = np.rint(slopes / scale).astype(np.int8)
        return self.builder.add_constant(f"{node.name}/slopes", integers, np.array([scale]))

    def _write_cap(self, node: g.Activation, source: int) -> None:
        assert node.cap is not None
        cap = self.builder.add_constant(f"{node.name}/cap", node.cap.reshape(1, 1, 1, -1))
        target = self._add_map(node.name, "float32", None)
        self.builder.add_operator("MINIMUM", [source, cap], target, self.builder.make_options("MaximumMinimum"))

    def _pad_input(self, conv: g.Conv, dtype: MapDtype) -> int:
        """Get the input of a convolution; padding other than SAME and VALID is added with a PAD operator."""
        name = conv.inputs[0]
        source = self._get_map(name, dtype)
        if isinstance(conv.padding, str):
            return source
        (top, bottom), (left, right) = conv.padding
        rows, columns = self.sizes[name]
        shape = (1, rows + top + bottom, columns + left + right, self.channels[name])
        padded = self.builder.add_tensor(
            f"{conv.name}/padded", shape, dtype, _to_quantization(self.params.get((name, dtype)))
        )
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs = [source, self.builder.add_constant(f"{conv.name}/padding", amounts)]
        self.builder.add_operator("PAD", inputs, padded, self.builder.make_options("Pad"), is_int16=dtype == "int16")
        return padded

    def _get_map(self, name: str, dtype: MapDtype) -> int:
        """Get the stored map `name` in a dtype; a conversion is added once if it is stored in another dtype."""
        if (name, dtype) not in self.tensors:
            stored_dtype = self.plan.get_dtype(name)
            if (stored_dtype, dtype) == ("int8", "int16"):
                # tflite-runtime 2.14 has no QUANTIZE from int8 to int16.
                stored_dtype = "float32"
            source = self._get_map(name, stored_dtype)
            params = None if dtype == "float32" else self.plan.map_params[name]
            if params is not None and params.dtype != dtype:
                params = compute_quant_params(*params.value_range, dtype)
            target = self._add_map(name, dtype, params, converted=True)
            op, table = ("DEQUANTIZE", "Dequantize") if dtype == "float32" else ("QUANTIZE", "Quantize")
            self.builder.add_operator(
                op, [source], target, self.builder.make_options(table), is_int16="int16" in (stored_dtype, dtype)
            )
        return self.tensors[name, dtype]

    def _add_map(self, name: str, dtype: MapDtype, params: QuantParams | None, converted: bool = False) -> int:
        label = f"{name}/{dtype}" if converted else self.outputs.get(name, name)
        params = None if dtype == "float32" else params
        if params is not None:
            self.params[name, dtype] = params
        self.tensors[name, dtype] = self.builder.add_tensor(
            label, self._get_shape(name), dtype, _to_quantization(params)
        )
        return self.tensors[name, dtype]

    def _get_shape(self, name: str) -> tuple[int, int, int, int]:
        return (1, *self.sizes[name], self.channels[name])


def _to_quantization(params: QuantParams | None) -> Quantization | None:
    return None if params is None else Quantization(params.scale, params.zero_point)
