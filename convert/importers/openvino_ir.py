"""Importer for OpenVINO IR files (`.xml` and `.bin`, version 10 or later), as current tools write them.

Weights in float16 or integers that are converted by Convert, FakeQuantize, Multiply and Subtract are imported as float.
FakeQuantize on activations only simulates integer arithmetic and is ignored. An IR can have channels first or last: a
PrePostProcessor adds Transpose, Convert, Subtract and Divide in front of the network. The graph has channels last. Only
the layers that the chosen outputs need must be supported. Operators are defined in the OpenVINO operation sets 1 to 15.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # nosec B405
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from ..ir import graph as g
from ..ir.output_heads import choose_outputs
from .limits import ImportBudget, check_file_size
from .openvino_constants import evaluate_layer, read_constant
from .openvino_operators import LayerImporter
from .openvino_values import FeatureMap, MapShape, Value
from .openvino_xml import Layer, UnsupportedLayerError

_SourcePort = tuple[str, int]
"""ID of a layer, and the ID of one of its output ports."""


def load(
    xml_path: Path, *, heatmaps: str | None = None, pafs: str | None = None, skeleton: Skeleton = COCO18
) -> g.Graph:
    """Read an OpenVINO IR.

    Args:
        xml_path: The `.xml` file. The `.bin` file with the weights is in the same folder.
        heatmaps: The layer or tensor of the heatmaps. Default: the result with the channels of the skeleton.
        pafs: The layer or tensor of the PAFs. Default: as for the heatmaps.
        skeleton: The skeleton of the network.

    Raises:
        ModelError: A file is missing or damaged, or a layer that the outputs need is not supported.
    """
    bin_path = xml_path.with_suffix(".bin")
    if not bin_path.is_file():
        raise ModelError(f"{xml_path}: the weights are missing; expected {bin_path.name} in the same folder")
    try:
        check_file_size(xml_path.stat().st_size)
        # The expat of Python 3.11 (2.4 or later) limits the expansion of entities and loads no external ones.
        root = ET.parse(xml_path).getroot()  # nosec B314
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"{xml_path}: not a readable OpenVINO IR: {error}") from None
    if root.tag != "net" or root.find("layers") is None:
        raise ModelError(f"{xml_path}: expected an OpenVINO IR (<net> with <layers>), got <{root.tag}>")
    version = root.get("version", "")
    if version.isdigit() and int(version) < 10:
        raise ModelError(
            f"{xml_path}: expected an OpenVINO IR of version 10 or later, this is version {version}; "
            "convert the network again with OpenVINO 2020.1 or later"
        )
    try:
        check_file_size(bin_path.stat().st_size)
        return _Importer(xml_path, root, bin_path.read_bytes()).build_graph(heatmaps, pafs, skeleton)
    except MemoryError:
        raise ModelError(f"{xml_path}: not enough memory for its constants") from None
    except (OverflowError, RecursionError, KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"{xml_path}: damaged OpenVINO IR: {reason}") from None


class _Importer:
    """Conversion of layers to graph nodes, in topological order. Constants are evaluated."""

    def __init__(self, path: Path, root: ET.Element, weights: bytes) -> None:
        self.path, self.weights = path, weights
        self.budget = ImportBudget()
        self.layers: dict[str, Layer] = {}
        for element in root.findall("layers/layer"):
            self.budget.add_item()
            self.layers[str(element.get("id"))] = Layer.parse(element)
        self.sources: dict[str, dict[int, _SourcePort]] = {}  # layer ID -> input port -> source
        for edge in root.findall("edges/edge"):
            target = self.sources.setdefault(str(edge.get("to-layer")), {})
            target[int(str(edge.get("to-port")))] = str(edge.get("from-layer")), int(str(edge.get("from-port")))
        self.values: dict[_SourcePort, Value] = {}
        self.layer_importer = LayerImporter()

    def build_graph(self, heatmaps: str | None, pafs: str | None, skeleton: Skeleton) -> g.Graph:
        results: list[Value] = []
        for key in self._sort_layers():
            layer = self.layers[key]
            inputs = [self.values[self._find_source(key, port)] for port in sorted(self.sources.get(key, {}))]
            if layer.kind == "Result":
                results.append(inputs[0])
                continue
            outputs = self._import_layer(layer, inputs)
            self.values.update(zip(((key, port) for port in layer.output_ports), outputs, strict=False))
        heatmaps, pafs = self._resolve_name(heatmaps), self._resolve_name(pafs)
        nodes, importer = self.layer_importer.nodes, self.layer_importer
        found = [importer.get_node(value) for value in results if isinstance(value, FeatureMap)]
        errors = [value for value in results if isinstance(value, UnsupportedLayerError)]
        # A result behind an unsupported layer: the maps that this layer reads may be the outputs.
        found += [importer.get_node(value) for error in errors for value in error.maps]
        try:
            graph = choose_outputs(str(self.path), nodes, list(dict.fromkeys(found)), heatmaps, pafs, skeleton)
        except ModelError as error:
            if errors and heatmaps is None:
                raise ModelError(f"{self.path}: {errors[0]}") from None
            raise error from None
        if (count := len(list(graph.find_nodes(g.Input)))) != 1:
            raise ModelError(f"{self.path}: expected outputs that are computed from one image, got {count} inputs")
        return graph

    def _find_source(self, key: str, port: int) -> _SourcePort:
        source, source_port = self.sources[key][port]
        ports = self.layers[source].output_ports
        return source, source_port if source_port in ports else next(iter(ports))

    def _import_layer(self, layer: Layer, inputs: list[Value]) -> list[Value]:
        """Return the values of the outputs of a layer.

        A layer that is not supported is an error only if a chosen output needs it.
        """
        needed = inputs[:1] if layer.kind == "Interpolate" else inputs
        blocked = next((value for value in needed if isinstance(value, UnsupportedLayerError)), None)
        if blocked is not None:
            return [blocked] * len(layer.output_ports)
        try:
            if layer.kind == "Const":
                return [read_constant(layer, self.weights, self.budget)]
            constants = [value for value in inputs if isinstance(value, np.ndarray)]
            if inputs and len(constants) == len(inputs):
                return [evaluate_layer(layer, constants, self.budget)] * len(layer.output_ports)
            return self.layer_importer.import_layer(layer, inputs)
        except UnsupportedLayerError as error:
            error.maps = tuple(value for value in inputs if isinstance(value, FeatureMap))
            return [error] * len(layer.output_ports)

    def _sort_layers(self) -> list[str]:
        """Return the layer IDs in topological order."""
        order: list[str] = []
        state: dict[str, bool] = {}  # True: in `order`
        pending = list(reversed(self.layers))
        while pending:
            key = pending[-1]
            missing = [s for s, _ in self.sources.get(key, {}).values() if s not in state]
            if key in state or not missing:
                pending.pop()
                if not state.get(key):
                    state[key] = True
                    order.append(key)
                continue
            if len(pending) > 4 * len(self.layers) + 4:
                raise ValueError("the edges form a cycle")
            pending.extend(missing)
        return order

    def _resolve_name(self, name: str | None) -> str | None:
        """Return the graph node for an output that the user named: a layer, one of its tensors, or a result."""
        if name is None:
            return None
        for (key, port), value in self._list_named(name):
            if isinstance(value, UnsupportedLayerError):
                raise ModelError(f"{self.path}: {value}")
            if isinstance(value, FeatureMap):
                return self.layer_importer.get_node(value)
            if isinstance(value, MapShape | np.ndarray):
                raise ModelError(f"{self.path}: {name!r} (layer {key}, port {port}) is not a feature map")
        return name

    def _list_named(self, name: str) -> Iterator[tuple[_SourcePort, Value]]:
        for key, layer in self.layers.items():
            if layer.kind == "Result" and name in (layer.name, *layer.result_names):
                source = self._find_source(key, 0)
                yield source, self.values[source]
            for port, names in layer.output_ports.items():
                if (key, port) in self.values and (name == layer.name or name in names):
                    yield (key, port), self.values[key, port]
