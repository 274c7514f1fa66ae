"""Importer for ONNX models, as PyTorch and tf2onnx export them (opset 9 to 22).

Only the ancestors of the outputs are imported. Constants are evaluated. The file has feature maps (batch, channels,
height, width), or any other order behind a Transpose; the graph has (batch, height, width, channels). Operators are
defined in the ONNX operator specification, https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ...runtime.errors import MissingExtraError, ModelError
from ...runtime.skeleton import COCO18, Skeleton
from ..ir import graph as g
from ..ir.output_heads import choose_outputs
from .onnx_constants import evaluate
from .onnx_file import Constant, OnnxFile, Operator
from .onnx_operators import OPERATORS
from .onnx_values import NO_PADS, Values

_CONSTANT_ATTRIBUTES = ("value", "value_float", "value_int", "value_floats", "value_ints")


def load(
    path: Path,
    *,
    heatmaps: str | None = None,
    pafs: str | None = None,
    skeleton: Skeleton = COCO18,
    note: Callable[[str], None] = lambda text: None,
) -> g.Graph:
    """Read an ONNX model.

    Args:
        path: The `.onnx` file. External data is read from files in the same folder.
        heatmaps: The value or the node of the heatmaps. Default: the last output with the channels of the skeleton.
        pafs: The value or the node of the PAFs. Default: as for the heatmaps.
        skeleton: The skeleton of the network.
        note: Called with each warning for the user.

    Raises:
        ModelError: The file is damaged, or an operator is not supported.
        MissingExtraError: The package `onnx` is not installed.
    """
    try:
        importer = _Importer(OnnxFile(path), skeleton)
        graph = importer.build_graph(heatmaps, pafs)
    except MissingExtraError:
        raise
    except ModelError as error:
        raise ModelError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror or error}") from None
    except MemoryError:
        raise ModelError(f"{path}: not enough memory for its constants") from None
    except Exception as error:  # damaged attributes and tensors can raise nearly any type
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{path}: damaged ONNX model: {type(error).__name__}: {reason}") from None
    for text in importer.values.notes:
        note(text)
    return graph


class _Importer:
    """Conversion of operators to graph nodes, in topological order."""

    def __init__(self, file: OnnxFile, skeleton: Skeleton) -> None:
        self.file, self.values, self.skeleton = file, Values(file), skeleton

    def build_graph(self, heatmaps: str | None, pafs: str | None) -> g.Graph:
        label = str(self.file.path)
        if heatmaps is not None and pafs is not None:
            heatmaps, pafs = self._import_named_output(heatmaps), self._import_named_output(pafs)
            return choose_outputs(label, self.values.nodes, [], heatmaps, pafs, self.skeleton)
        failed: dict[str, ModelError] = {}
        results = []
        for name in self.file.outputs:
            try:
                results.append(self._import_value(name))
            except ModelError as error:
                failed[name] = error
        results = self._select_last(results)
        self._check_failed(failed, results)
        return choose_outputs(label, self.values.nodes, results, None, None, self.skeleton)

    def _select_last(self, results: list[str]) -> list[str]:
        """Return one output for each number of channels: the last one, if the network has several stages."""
        order = {name: place for place, name in enumerate(self.values.nodes)}
        last = {self.values.channels[name]: name for name in sorted(results, key=order.__getitem__)}
        return list(last.values())

    def _check_failed(self, failed: dict[str, ModelError], results: list[str]) -> None:
        """Raise the error of an output that cannot be imported, unless its shape says that it is not needed."""
        channels = {self.values.channels[name] for name in results}
        for name, error in failed.items():
            shape = self.file.shapes.get(name)
            if not channels or shape is None or None in shape or channels & set(shape):
                raise error

    def _import_named_output(self, name: str) -> str:
        """Import a value that the user named, or the first result of the node that the user named."""
        if name not in self.file.producers:
            name = next((o.outputs[0] for o in self.file.operators if name and o.name == name and o.outputs), name)
        # An unknown name is reported by `choose_outputs`.
        return self._import_value(name) if name in self.file.producers else name

    def _import_value(self, name: str) -> str:
        """Import a feature map with all its ancestors. Return its node."""
        for operator in self._sort_ancestors(name):
            self._import_operator(operator)
        found = self.values.maps.get(name)
        if found is None:
            raise ModelError(f"output {name!r} is not a feature map; name others with --heatmaps and --pafs")
        if found.block > 1:
            found = self.values.unblock(self.file.producers[name], found)
        if found.pads != NO_PADS:
            raise ModelError(f"output {name!r} is a padding; name others with --heatmaps and --pafs")
        return found.node

    def _sort_ancestors(self, name: str) -> Iterable[Operator]:
        """Return the operators that a value needs and that are not imported yet, in topological order."""
        order: dict[tuple[str, ...], Operator] = {}
        opened: set[tuple[str, ...]] = set()
        pending = [(name, False)]
        while pending:
            value, is_ready = pending.pop()
            operator = self.file.producers.get(value)
            if operator is None or operator.outputs in order or self._is_known(value):
                continue
            if is_ready:
                order[operator.outputs] = operator
                continue
            if operator.outputs in opened:
                raise ModelError(f"the graph has a cycle at {value[:80]!r}")
            opened.add(operator.outputs)
            pending.append((value, True))
            pending.extend((source, False) for source in operator.inputs)
        return order.values()

    def _is_known(self, name: str) -> bool:
        return name in self.values.maps or name in self.values.constants

    def _import_operator(self, operator: Operator) -> None:
        for name in operator.inputs:
            if name and not self._is_known(name):
                self._import_source(operator, name)
        if operator.kind == "Constant":
            self._add_constant(operator.outputs[0], self._read_constant(operator))
        elif operator.kind == "Shape" and operator.inputs[0] in self.values.maps:
            source = self.values.get_map(operator, 0)
            shape = _cut_shape(operator, self.values.get_shape(source))
            self._add_constant(operator.outputs[0], shape, (source.node,))
        elif not any(name in self.values.maps for name in operator.inputs):
            self._evaluate(operator)
        else:
            self._convert(operator)

    def _import_source(self, operator: Operator, name: str) -> None:
        """Import an initializer, or the input image."""
        if name in self.file.tensors:
            self._add_constant(name, self.file.read_tensor(self.file.tensors[name]))
        elif name in self.file.sparse_names:
            raise ModelError(f"tensor {name[:80]!r} is sparse; export the model with dense weights")
        elif name in self.file.inputs:
            others = [node.name for node in self.values.nodes.values() if isinstance(node, g.Input)]
            if others:
                raise ModelError(f"expected one input image, found {others[0]!r} and {name[:80]!r}")
            self.values.maps[name] = self.values.add_input(name, self._find_input_layout(name))
        else:
            raise ModelError(f"{operator.label} reads {name[:80]!r}, which is not in the file (truncated?)")

    def _find_input_layout(self, name: str) -> str:
        """Return the order of the axes of the input image: the side of 3 is the channels."""
        shape = self.file.inputs[name] or (None,) * 4
        if len(shape) == 4 and (shape[1] == 3 or (shape[1] is None and shape[3] != 3)):
            return "NCHW"
        if len(shape) == 4 and shape[3] == 3:
            return "NHWC"
        raise ModelError(f"input {name[:80]!r} has the shape {shape[:8]}; expected an image with 3 channels")

    def _read_constant(self, operator: Operator) -> Constant:
        attribute = next((operator.attributes[n] for n in _CONSTANT_ATTRIBUTES if n in operator.attributes), None)
        if attribute is None:
            raise operator.refuse("its value is not a dense tensor of numbers")
        match attribute.name:
            case "value":
                return self.file.read_tensor(attribute.t)
            case "value_float":
                return np.asarray(attribute.f, np.float32)
            case "value_int":
                return np.asarray(attribute.i, np.int64)
            case "value_floats":
                return np.asarray(attribute.floats, np.float32)
        return np.asarray(attribute.ints, np.int64)

    def _evaluate(self, operator: Operator) -> None:
        values = [self.values.constants[name] if name else None for name in operator.inputs]
        origins = [origin for name in operator.inputs for origin in self.values.origins.get(name, ())]
        if operator.kind == "Shape" and values[0] is not None:
            result = _cut_shape(operator, list(values[0].shape))
        else:
            result = evaluate(operator, values)
        self.file.budget.add_array(result.shape, operator.label)
        self._add_constant(operator.outputs[0], result, tuple(dict.fromkeys(origins)))

    def _add_constant(self, name: str, value: Constant, origins: tuple[str, ...] = ()) -> None:
        self.values.constants[name] = value
        if origins:
            self.values.origins[name] = origins

    def _convert(self, operator: Operator) -> None:
        if operator.kind not in OPERATORS:
            raise operator.refuse("not supported")
        # Some operators have optional outputs, such as the mask of a Dropout. They are unknown to their readers.
        for name, result in zip(operator.outputs, OPERATORS[operator.kind](self.values, operator), strict=False):
            self.values.maps[name] = result
            self.values.check_declared_shape(operator, name)


def _cut_shape(operator: Operator, shape: list[int]) -> Constant:
    """Return the part of a shape that a Shape operator selects."""
    end = operator.get_int("end", len(shape)) if "end" in operator.attributes else len(shape)
    return np.asarray(shape[operator.get_int("start") : end], np.int64)
