"""Importer for TensorFlow 1 frozen graphs (`.pb`), such as `graph_opt.pb` of tf-pose-estimation.

A node that cannot be imported is an error only if an output depends on it. Losses, training operators, other heads and
the detection of peaks behind the maps are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from ..ir.output_heads import choose_outputs
from ..ir.skeleton_match import list_output_channels
from .frozen_constants import evaluate_operator, evaluate_sizes
from .limits import ImportBudget, check_file_size
from .tensorflow_nodes import describe_unsupported
from .tensorflow_operators import OperatorImporter
from .tensorflow_values import NCHW, NHWC, Axes, Constant, Failure, FeatureMap, Sizes, Value

_IDENTITY_OPS = {
    "Identity", "IdentityN", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics", "Dropout", "EnsureShape",
    "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel",
    "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4", "ReadVariableOp",
}  # fmt: skip
_VALUE_OPS = {
    "Softmax", "LogSoftmax", "Softplus", "Softsign", "Selu", "Exp", "Log", "Pow", "Square", "Sqrt", "Erf", "Erfc",
}  # fmt: skip
"""Operators that change the values of a map. Directly behind an output, they are a part of the network."""
_IMAGE_DTYPES = {1, 2, 3, 4, 6, 9, 14, 19}
"""TensorFlow's numbers of the dtypes that an image can have: float and integer types."""
_STRING_DTYPE = 7
_MAX_LISTED_NODES = 3


def load(
    path: Path,
    *,
    heatmaps: str | None = None,
    pafs: str | None = None,
    skeleton: Skeleton = COCO18,
    note: Callable[[str], None] = lambda text: None,
) -> g.Graph:
    """Read a frozen graph.

    Args:
        path: The `.pb` file.
        heatmaps: The node or tensor of the heatmaps. Default: the output with the channels of the skeleton.
        pafs: The node or tensor of the PAFs. Default: as for the heatmaps.
        skeleton: The skeleton of the network.
        note: Called with notes for the user.

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
    return import_graph_def(path, definition, None, heatmaps, pafs, skeleton, note)


def import_graph_def(
    path: Path,
    definition: Any,
    results: list[str] | None,
    heatmaps: str | None,
    pafs: str | None,
    skeleton: Skeleton = COCO18,
    note: Callable[[str], None] = lambda text: None,
) -> g.Graph:
    """Convert a GraphDef to a graph.

    Args:
        path: The file that the GraphDef comes from, for error messages.
        definition: The GraphDef.
        results: The output tensors. None: the feature maps that no other feature map is computed from.
        heatmaps: As in `load`.
        pafs: As in `load`.
        skeleton: As in `load`.
        note: As in `load`.

    Raises:
        ModelError: As in `load`.
    """
    try:
        return _Importer(path, definition, skeleton, note).build_graph(results, heatmaps, pafs)
    except MemoryError:
        raise ModelError(f"{path}: not enough memory for the constants of the graph") from None
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path}: damaged frozen graph: {type(error).__name__}: {error}") from None


class _Importer:
    """Conversion of TensorFlow nodes to graph nodes, in topological order.

    Constants are evaluated. Values that are computed from the size of a feature map are tracked as `Sizes`.
    """

    def __init__(self, path: Path, definition: Any, skeleton: Skeleton, note: Callable[[str], None]) -> None:
        self.path, self.skeleton, self.note = path, skeleton, note
        self.budget = ImportBudget()
        self.definitions = {node.name: node for node in definition.node}
        self.operators = OperatorImporter()
        self.values: dict[str, Value] = {}
        """By tensor: the node's name, with `:1` and so on for all outputs but the first."""
        self.failed_nodes: dict[str, Failure] = {}
        """Nodes that could not be imported although all their inputs could, in topological order."""

    def build_graph(self, results: list[str] | None, heatmaps: str | None, pafs: str | None) -> g.Graph:
        named = [name for name in (heatmaps, pafs) if name]
        for name in self._sort_names(map(_get_node_name, named) if len(named) == 2 else self.definitions):
            self._import_node(self.definitions[name])
        graph = self._choose_outputs(results, self._resolve_output(heatmaps), self._resolve_output(pafs))
        images = [node.name for node in graph.nodes.values() if isinstance(node, g.Input)]
        if len(images) != 1:
            found = ", ".join(images) or "none"
            raise ModelError(f"{self.path}: expected one image as input of the outputs, found {found}")
        self._note_ignored_nodes(graph)
        return graph

    def _choose_outputs(self, results: list[str] | None, heatmaps: str | None, pafs: str | None) -> g.Graph:
        nodes = self.operators.nodes
        if results is None:
            read = {i for node in nodes.values() for i in node.inputs}
            outputs = [name for name in nodes if name not in read]
        else:
            values = [self.values.get(_get_tensor_key(name)) for name in results]
            outputs = [value.node for value in values if isinstance(value, FeatureMap) and value.is_plain]
            if len(outputs) < len(values):
                # The maps may be in front of the part that could not be imported.
                outputs = [*outputs, *(name for name in nodes if name not in outputs)]
        self._check_failures_in_network()
        try:
            return choose_outputs(str(self.path), nodes, outputs, heatmaps, pafs, self.skeleton)
        except ModelError as error:
            if (failure := self._find_failure()) is None or (heatmaps is not None and pafs is not None):
                raise
            counts = list_output_channels(self.skeleton)
            if not any(self.operators.count_channels(name) in counts for name in nodes):
                raise ModelError(f"{self.path}: {failure.message}") from None
            raise ModelError(f"{error}. Not imported: {failure.message}") from None

    def _find_failure(self) -> Failure | None:
        """Return the failure to show: the first of a node that reads a feature map, or else the first.

        Keras adds a NoOp, which only orders the other nodes: it is no reason why an output is missing.
        """
        for name, failure in self.failed_nodes.items():
            if self._list_maps(name):
                return failure
        others = (failure for name, failure in self.failed_nodes.items() if self.definitions[name].op != "NoOp")
        return next(others, None)

    def _list_maps(self, name: str) -> list[FeatureMap]:
        values = [self.values.get(_get_tensor_key(i)) for i in self.definitions[name].input]
        return [value for value in values if isinstance(value, FeatureMap)]

    def _check_failures_in_network(self) -> None:
        """Raise ModelError if the part that could not be imported has later outputs of the network.

        Without this check, a network with several stages would end at an operator that is not supported.
        """
        counts = list_output_channels(self.skeleton)
        for name, failure in self.failed_nodes.items():
            maps = self._list_maps(name)
            if self.definitions[name].op in _VALUE_OPS and any(self._is_output(m.node, counts) for m in maps):
                raise ModelError(f"{self.path}: {failure.message}")
        for name, node in self.definitions.items():
            value = self.values.get(name)
            if node.op == "Conv2D" and isinstance(value, Failure) and len(node.input) > 1:
                kernel = self.values.get(_get_tensor_key(node.input[1]))
                if isinstance(kernel, Constant) and np.ndim(kernel.value) == 4 and kernel.value.shape[3] in counts:
                    raise ModelError(f"{self.path}: {value.message}")

    def _is_output(self, name: str, counts: set[int]) -> bool:
        """Return True if a map has the channels of an output and no convolution reads it."""
        if self.operators.count_channels(name) not in counts:
            return False
        pending = [name]
        while pending:
            current = pending.pop()
            for node in self.operators.nodes.values():
                if current in node.inputs:
                    if isinstance(node, g.Conv):
                        return False
                    pending.append(node.name)
        return True

    def _note_ignored_nodes(self, graph: g.Graph) -> None:
        """Name the operators that read the outputs and were ignored."""
        behind = {graph.heatmaps, graph.pafs}
        for node in self.operators.nodes.values():
            if behind & set(node.inputs):
                behind.add(node.name)
        ignored = [name for name in self.failed_nodes if any(m.node in behind for m in self._list_maps(name))]
        if ignored:
            listed = ", ".join(f"{self.definitions[name].op} {name!r}" for name in ignored[:_MAX_LISTED_NODES])
            more = f" and {len(ignored) - _MAX_LISTED_NODES} more" if len(ignored) > _MAX_LISTED_NODES else ""
            self.note(f"ignored behind the outputs: {listed}{more}")

    def _sort_names(self, roots: Iterable[str]) -> list[str]:
        """Return the names of nodes and their inputs in topological order.

        A loop is cut: the node that reads a later node cannot be imported.
        """
        order: dict[str, None] = {}
        open_nodes: set[str] = set()
        pending = [(name, False) for name in reversed(list(roots))]
        while pending:
            name, ready = pending.pop()
            if ready:
                order[name] = None
            elif name not in order and name in self.definitions and name not in open_nodes:
                open_nodes.add(name)
                pending.append((name, True))
                sources = [_get_node_name(i) for i in self.definitions[name].input]
                pending.extend((source, False) for source in sources if source not in order)
        return list(order)

    def _resolve_output(self, tensor_name: str | None) -> str | None:
        """Return the graph node for an output that the user named. `choose_outputs` reports unknown names."""
        if not tensor_name:
            return tensor_name
        value = self.values.get(_get_tensor_key(tensor_name))
        if isinstance(value, Failure):
            raise ModelError(f"{self.path}: {value.message}")
        return value.node if isinstance(value, FeatureMap) and value.is_plain else _get_node_name(tensor_name)

    def _import_node(self, definition: Any) -> None:
        """Convert a TensorFlow node and store the values of its outputs."""
        name = definition.name
        keys = [_get_tensor_key(i) for i in definition.input if not i.startswith("^")]
        inputs = [self.values[key] if key in self.values else self._describe_missing(name, key) for key in keys]
        failures = [value for value in inputs if isinstance(value, Failure)]
        results: list[Value]
        try:
            results = list(failures[:1]) or self._convert_node(definition, inputs)
        except ModelError as error:
            results = [Failure(str(error))]
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
            reason = " ".join(str(error).split())
            results = [Failure(f"damaged frozen graph: node {name!r}: {type(error).__name__}: {reason}")]
        if not failures and isinstance(results[0], Failure):
            self.failed_nodes[name] = results[0]
        for number, value in enumerate(results):
            self.values[name if number == 0 else f"{name}:{number}"] = value

    def _describe_missing(self, name: str, key: str) -> Failure:
        source = _get_node_name(key)
        if source not in self.definitions:
            failure = Failure(f"node {name!r} reads {source!r}, which is not in the graph (truncated?)")
        elif isinstance(previous := self.values.get(source), Failure):
            failure = previous
        elif source in self.values:
            op = self.definitions[source].op
            failure = Failure(
                f"node {name!r} reads output {key.partition(':')[2]} of {source!r}, a {op}: not supported"
            )
        else:
            failure = Failure(f"the graph has a cycle at {name!r}")
        self.failed_nodes.setdefault(name, failure)
        return failure

    def _convert_node(self, definition: Any, inputs: list[Value]) -> list[Value]:
        name, op, attr = definition.name, definition.op, definition.attr
        if op == "Const":
            return [Constant(_read_constant(name, attr["value"].tensor, self.budget))]
        if op in ("Placeholder", "PlaceholderV2"):
            dims = attr["shape"].shape
            has_shape = "shape" in attr and not dims.unknown_rank
            return [
                self._import_placeholder(name, attr["dtype"].type, [d.size for d in dims.dim] if has_shape else None)
            ]
        if op == "PlaceholderWithDefault":
            return [self._import_default(name, attr["dtype"].type, inputs[0])]
        if op in _IDENTITY_OPS and inputs:
            return inputs if op == "IdentityN" else inputs[:1]
        maps = [value for value in inputs if isinstance(value, FeatureMap)]
        if op == "Shape" and maps:
            return [self.operators.get_sizes(maps[0])]
        if op == "ShapeN" and len(maps) == len(inputs):
            return [self.operators.get_sizes(value) for value in maps]
        if maps:
            return self.operators.import_operator(name, op, attr, inputs)
        return [self._evaluate(name, op, attr, inputs)]

    def _evaluate(self, name: str, op: str, attr: Any, inputs: list[Value]) -> Value:
        """Evaluate an operator without feature maps."""
        constants = [value for value in inputs if isinstance(value, Constant)]
        values = [value for value in inputs if isinstance(value, Constant | Sizes)]
        result: Value | None
        if not inputs or len(values) < len(inputs):
            result = None
        elif len(constants) == len(inputs):
            result = evaluate_operator(op, attr, [c.value for c in constants], self.budget, repr(name))
        else:
            result = evaluate_sizes(op, attr, values)
        return Failure(describe_unsupported(name, op)) if result is None else result

    def _import_placeholder(self, name: str, dtype: int, dims: list[int] | None) -> Value:
        if dtype == _STRING_DTYPE:
            raise ModelError(f"placeholder {name!r} takes encoded images; export the network with an input of pixels")
        if dtype not in _IMAGE_DTYPES:
            raise ModelError(
                f"placeholder {name!r} is not an image, and the outputs need its value; replace it with a constant"
            )
        return self.operators.add_input(name, dims, lambda: self._guess_layout(name))

    def _import_default(self, name: str, dtype: int, default: Value) -> Value:
        """Convert a placeholder with a default: an image, or a setting that keeps its default."""
        shape = np.shape(default.value) if isinstance(default, Constant) else ()
        if len(shape) == 4 and 3 in shape[1::2] and dtype in _IMAGE_DTYPES:
            return self._import_placeholder(name, dtype, [-1, *shape[1:]])
        return default

    def _guess_layout(self, name: str) -> Axes:
        """Find the layout of an image without a shape from the operators that read it."""
        pending, seen = [name], {name}
        while pending:
            current = pending.pop(0)
            for node in self.definitions.values():
                if node.name in seen or current not in map(_get_node_name, node.input):
                    continue
                if node.op == "Conv2D":
                    return NCHW if node.attr["data_format"].s == b"NCHW" else NHWC
                if node.op == "Transpose":
                    order = self.values.get(_get_node_name(node.input[1]))
                    return NCHW if isinstance(order, Constant) and list(order.value) == [0, 2, 3, 1] else NHWC
                seen.add(node.name)
                pending.append(node.name)
        return NHWC


def _read_constant(name: str, tensor: Any, budget: ImportBudget) -> Any:
    """Read the value of a constant. Its size is checked first: a few bytes can mean a huge array of one value."""
    import tensorflow as tf

    label = f"constant {name!r}"
    if tensor.tensor_shape.unknown_rank:
        raise ValueError(f"{label} has no shape")
    budget.add_array([side.size for side in tensor.tensor_shape.dim], label)
    return tf.make_ndarray(tensor)


def _get_node_name(tensor_name: str) -> str:
    """Return the node of a tensor name: without the prefix `^` and the output number."""
    return tensor_name.removeprefix("^").partition(":")[0]


def _get_tensor_key(tensor_name: str) -> str:
    """Return the key of a tensor in `_Importer.values`."""
    return tensor_name.removesuffix(":0")
