"""Spells a plan in TFLite: integer operators, and conversions only where integers of two kinds or floats meet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.types import Quantization
from ..ir import graph as g
from ..ir import macs
from .plan import Kind, Plan, QuantParams, fused_activation, map_code
from .tflite_builder import TfliteBuilder

_FUSED: dict[str | None, int] = {None: 0, "relu": 1, "relu6": 3}
_POINTLESS = "has no integer form; convert to float16 instead"


def write(plan: Plan, width: int, height: int) -> tuple[bytes, Mapping[str, int]]:
    """The flatbuffer for images (1, height, width, 3) uint8, and how often it uses each operator.

    Raises ModelError where an operator has no integer form.
    """
    return _Writer(plan, width, height).written()


class _Writer:
    """`tensors`: every stored map in each kind of numbers that something reads, `codes` what its integers mean."""

    def __init__(self, plan: Plan, width: int, height: int) -> None:
        self.plan, self.graph = plan, plan.graph
        self.builder = TfliteBuilder()
        self.sizes = macs.sizes(plan.graph, height, width)
        self.channels = g.channels(plan.graph)
        self.tensors: dict[tuple[str, Kind], int] = {}
        self.codes: dict[tuple[str, Kind], QuantParams] = {}
        self.done: set[str] = set()
        self.outputs = {self.graph.heatmaps: "heatmaps", self.graph.pafs: "pafs"}

    def written(self) -> tuple[bytes, Mapping[str, int]]:
        image = self._image()
        for name, node in self.graph.nodes.items():
            if name not in self.done:
                self._operator(node)
        results = [self.tensors[name, self.plan.kind(name)] for name in self.outputs]
        return self.builder.finish([image], results), self.builder.counts

    def _image(self) -> int:
        """The bytes of the image, and the same less 128 as int8. A constant offset is their zero point."""
        name = self.graph.input.name
        if name not in self.plan.maps:
            name = self.graph.consumers(name)[0].name
        self.done.update({self.graph.input.name, name})
        code = self.plan.maps[name]
        stored = Quantization(code.scale, code.zero_point + 128)
        image = self.builder.tensor("image", self._shape(name), "uint8", stored)
        target = self._tensor(name, "int8", code)
        self.builder.operator("QUANTIZE", [image], target, self.builder.options("Quantize"))
        return image

    def _operator(self, node: g.Node) -> None:
        name, options = node.name, self.builder.options
        match node:
            case g.Conv():
                self._convolution(node)
            case g.Activation():
                self._activation(node)
            case g.Add():
                self._emit("ADD", name, node.inputs, options("Add", potScaleInt16=False))
            case g.Concat():
                self._emit("CONCATENATION", name, node.inputs, options("Concatenation", axis=3))
            case g.ResizeLike():
                size = self.builder.constant(f"{name}/size", np.array(self.sizes[name], np.int32))
                chosen = options("ResizeBilinear", halfPixelCenters=node.half_pixel_centers)
                self._emit("RESIZE_BILINEAR", name, node.inputs[:1], chosen, [size])
            case g.MaxPool() if isinstance(node.padding, str):
                window = {"filterHeight": node.window[0], "filterWidth": node.window[1]}
                strides = {"strideH": node.strides[0], "strideW": node.strides[1]}
                chosen = options("Pool2D", padding=int(node.padding == "VALID"), **window, **strides)
                self._emit("MAX_POOL_2D", name, node.inputs, chosen)
            case g.Slice():
                begin = self.builder.constant(f"{name}/begin", np.array([0, 0, 0, node.start], np.int32))
                size = self.builder.constant(f"{name}/extent", np.array(self._shape(name), np.int32))
                self._emit("SLICE", name, node.inputs, options("Slice"), [begin, size])
            case _:
                raise ModelError(f"{name!r} is a {type(node).__name__}, which {_POINTLESS}")

    def _emit(
        self, op: str, name: str, sources: tuple[str, ...], options: object, constants: list[int] | None = None
    ) -> None:
        """An operator on stored maps whose result is the stored map `name`."""
        kind = self.plan.kind(name)
        inputs = [*(self._read(source, kind) for source in sources), *(constants or [])]
        target = self._tensor(name, kind, self.plan.maps[name])
        self.builder.operator(op, inputs, target, options, wide=kind == "int16")

    def _convolution(self, conv: g.Conv) -> None:
        activation = fused_activation(self.graph, conv)
        name = conv.name if activation is None else activation.name
        self.done.update({conv.name, name})
        kind = self.plan.kind(name)
        capped = activation is not None and activation.cap is not None
        fused = None if activation is None else "relu" if capped else activation.kind
        options = {
            "padding": int(conv.padding != "SAME"), "strideH": conv.strides[0], "strideW": conv.strides[1],
            "dilationHFactor": conv.dilations[0], "dilationWFactor": conv.dilations[1],
            "fusedActivationFunction": _FUSED[fused],
            **({"depthMultiplier": conv.kernel.shape[3]} if conv.depthwise else {}),
        }  # fmt: skip
        op, table = ("DEPTHWISE_CONV_2D", "DepthwiseConv2D") if conv.depthwise else ("CONV_2D", "Conv2D")
        inputs = [self._padded(conv, kind), *self._weights(conv, kind)]
        chosen = self.builder.options(table, **options)
        if capped and kind == "float32":
            assert activation is not None
            between = self.builder.tensor(f"{conv.name}/float", self._shape(name), kind)
            self.builder.operator(op, inputs, between, chosen)
            self._capped(activation, between)
            return
        # The ends of the integers are the cap: the largest value of every channel that reaches it is one.
        self.builder.operator(op, inputs, self._tensor(name, kind, self.plan.maps[name]), chosen, wide=kind == "int16")

    def _weights(self, conv: g.Conv, kind: Kind) -> list[int]:
        """Kernel and bias, in TFLite's order of axes."""
        rows, columns, inside, outside = conv.kernel.shape
        coded = None if kind == "float32" else self.plan.convs[conv.name]
        kernel = conv.kernel if coded is None else coded.kernel
        by_channel = (1, rows, columns, inside * outside)
        kernel = kernel.reshape(by_channel) if conv.depthwise else kernel.transpose(3, 0, 1, 2)
        if coded is None:
            bias = np.zeros(conv.out_channels, np.float32) if conv.bias is None else conv.bias
            return [
                self.builder.constant(f"{conv.name}/kernel", kernel),
                self.builder.constant(f"{conv.name}/bias", bias),
            ]
        # The scale as the file stores it: in float32.
        step = coded.scale.astype(np.float32).astype(np.float64) * np.float32(self.codes[conv.inputs[0], kind].scale)
        limits = np.iinfo(np.int32 if kind == "int8" else np.int64)
        integers = np.clip(np.rint(coded.bias / step), -(2.0**31), 2.0**31 - 1).astype(limits.dtype)
        return [
            self.builder.constant(f"{conv.name}/kernel", kernel, coded.scale, 3 if conv.depthwise else 0),
            self.builder.constant(f"{conv.name}/bias", integers, step),
        ]

    def _activation(self, node: g.Activation) -> None:
        """An activation that is not part of a convolution."""
        if node.cap is not None:
            raise ModelError(f"{node.name!r} has a limit a channel, which {_POINTLESS}")
        self._emit({"elu": "ELU", "relu": "RELU", "relu6": "RELU6"}[node.kind], node.name, node.inputs, None)

    def _capped(self, node: g.Activation, source: int) -> None:
        assert node.cap is not None
        cap = self.builder.constant(f"{node.name}/cap", node.cap.reshape(1, 1, 1, -1))
        target = self._tensor(node.name, "float32", None)
        self.builder.operator("MINIMUM", [source, cap], target, self.builder.options("MaximumMinimum"))

    def _padded(self, conv: g.Conv, kind: Kind) -> int:
        """The map that a convolution reads, with zeros around it where the padding is neither SAME nor VALID."""
        name = conv.inputs[0]
        source = self._read(name, kind)
        if isinstance(conv.padding, str):
            return source
        (top, bottom), (left, right) = conv.padding
        rows, columns = self.sizes[name]
        shape = (1, rows + top + bottom, columns + left + right, self.channels[name])
        padded = self.builder.tensor(f"{conv.name}/padded", shape, kind, _quantization(self.codes.get((name, kind))))
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs = [source, self.builder.constant(f"{conv.name}/padding", amounts)]
        self.builder.operator("PAD", inputs, padded, self.builder.options("Pad"), wide=kind == "int16")
        return padded

    def _read(self, name: str, kind: Kind) -> int:
        """The stored map `name` as numbers of a kind, converted once where it is stored as another."""
        if (name, kind) not in self.tensors:
            own = self.plan.kind(name)
            source = self.tensors[name, own]
            code = None if kind == "float32" else self.plan.maps[name]
            if code is not None and code.kind != kind:
                code = map_code(*code.ends, kind)
            target = self._tensor(name, kind, code, converted=True)
            op, table = ("DEQUANTIZE", "Dequantize") if kind == "float32" else ("QUANTIZE", "Quantize")
            self.builder.operator(op, [source], target, self.builder.options(table), wide="int16" in (own, kind))
        return self.tensors[name, kind]

    def _tensor(self, name: str, kind: Kind, code: QuantParams | None, converted: bool = False) -> int:
        label = f"{name}/{kind}" if converted else self.outputs.get(name, name)
        code = None if kind == "float32" else code
        if code is not None:
            self.codes[name, kind] = code
        self.tensors[name, kind] = self.builder.tensor(label, self._shape(name), kind, _quantization(code))
        return self.tensors[name, kind]

    def _shape(self, name: str) -> tuple[int, int, int, int]:
        return (1, *self.sizes[name], self.channels[name])


def _quantization(code: QuantParams | None) -> Quantization | None:
    return None if code is None else Quantization(code.scale, code.zero_point)
