"""Importer for OpenVINO IR files (`.xml` and `.bin`, version 10 or later).

Integer weights that are converted by Convert, FakeQuantize, Multiply and Subtract are imported as float. FakeQuantize
on activations only simulates integer arithmetic and is ignored. The IR has NCHW feature maps and OIHW kernels; the
graph has NHWC and HWIO. Operators are defined in the OpenVINO operation set 1 specification.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # nosec B405
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from ..ir import graph as g
from ..ir.output_heads import choose_outputs
from .limits import ImportBudget, check_elements, check_file_size

_DTYPES = {
    "f32": "<f4", "f16": "<f2", "f64": "<f8", "i64": "<i8", "i32": "<i4", "i16": "<i2", "i8": "i1",
    "u64": "<u8", "u32": "<u4", "u16": "<u2", "u8": "u1", "boolean": "u1",
}  # fmt: skip


def load(
    xml_path: Path, *, heatmaps: str | None = None, pafs: str | None = None, skeleton: Skeleton = COCO18
) -> g.Graph:
    """Read an OpenVINO IR.

    Args:
        xml_path: The `.xml` file. The `.bin` file with the weights is in the same folder.
        heatmaps: The layer of the heatmaps. Default: the result with the channels of the skeleton.
        pafs: The layer of the PAFs. Default: as for the heatmaps.
        skeleton: The skeleton of the network.

    Raises:
        ModelError: A file is missing or damaged, or a layer type is not supported.
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
        raise ModelError(f"{xml_path}: damaged OpenVINO IR: {type(error).__name__}: {error}") from None


class _Importer:
    """Conversion of layers to graph nodes, in topological order. Constants are evaluated."""

    def __init__(self, path: Path, root: ET.Element, weights: bytes) -> None:
        self.path, self.weights = path, weights
        self.budget = ImportBudget()
        self.layers: dict[str, ET.Element] = {str(layer.get("id")): layer for layer in root.findall("layers/layer")}
        self.sources: dict[str, dict[int, str]] = {}  # layer ID -> input port -> ID of the source layer
        for edge in root.findall("edges/edge"):
            target = self.sources.setdefault(str(edge.get("to-layer")), {})
            target[int(str(edge.get("to-port")))] = str(edge.get("from-layer"))
        self.constants: dict[str, npt.NDArray[np.generic]] = {}
        self.names: dict[str, str] = {}  # layer ID -> name of the graph node with its output
        self.nodes: dict[str, g.Node] = {}

    def build_graph(self, heatmaps: str | None, pafs: str | None, skeleton: Skeleton) -> g.Graph:
        results = []
        for key in self._sort_layers():
            layer = self.layers[key]
            inputs = [self.sources[key][port] for port in sorted(self.sources.get(key, {}))]
            kind = str(layer.get("type"))
            if kind == "Result":
                results.append(self.names[inputs[0]])
            elif kind == "Const":
                self.constants[key] = self._read_constant(layer)
            elif inputs and all(i in self.constants for i in inputs):
                self.constants[key] = _evaluate(kind, layer, [self.constants[i] for i in inputs])
            else:
                self._import_layer(key, kind, layer, inputs)
        return choose_outputs(str(self.path), self.nodes, results, heatmaps, pafs, skeleton)

    def _sort_layers(self) -> list[str]:
        """Return the layer IDs in topological order."""
        order: list[str] = []
        state: dict[str, bool] = {}  # True: in `order`
        pending = list(reversed(self.layers))
        while pending:
            key = pending[-1]
            missing = [s for s in self.sources.get(key, {}).values() if s not in state]
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

    def _read_constant(self, layer: ET.Element) -> npt.NDArray[np.generic]:
        data = _get_attributes(layer)
        dtype = np.dtype(_DTYPES[data["element_type"]])
        offset, size = int(data["offset"]), int(data["size"])
        if offset < 0 or offset + size > len(self.weights):
            raise ValueError(f"constant {layer.get('name')!r} is outside the .bin file (truncated?)")
        shape = _parse_integers(data["shape"])
        self.budget.add_array(shape, f"constant {layer.get('name')!r}")
        values = np.frombuffer(self.weights, dtype, size // dtype.itemsize, offset)
        return values.reshape(shape)

    def _import_layer(self, key: str, kind: str, layer: ET.Element, inputs: list[str]) -> None:
        name = str(layer.get("name"))
        data = _get_attributes(layer)
        maps = tuple(self.names[i] for i in inputs if i in self.names)
        constant = next((self.constants[i] for i in inputs if i in self.constants), None)
        node: g.Node
        match kind:
            case "Parameter":
                node = g.Input(name=name)
            case "Convolution" | "GroupConvolution":
                node = _make_conv(name, maps, data, np.asarray(self.constants[inputs[1]], np.float32))
            case "FakeQuantize" | "Convert":
                self.names[key] = maps[0]
                return
            case "Add" | "Multiply" if constant is not None:
                values = np.asarray(constant, np.float32).ravel()
                one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
                node = (
                    g.Affine(name=name, inputs=maps, scale=one, offset=values)
                    if kind == "Add"
                    else g.Affine(name=name, inputs=maps, scale=values, offset=zero)
                )
            case "Add":
                node = g.Add(name=name, inputs=maps)
            case "ReLU":
                node = g.Activation(name=name, inputs=maps, kind="relu")
            case "Clamp" if (float(data["min"]), float(data["max"])) == (0.0, 6.0):
                node = g.Activation(name=name, inputs=maps, kind="relu6")
            case "Elu" if float(data["alpha"]) == 1.0:
                node = g.Activation(name=name, inputs=maps, kind="elu")
            case "Concat" if data["axis"] in ("1", "-3"):
                node = g.Concat(name=name, inputs=maps)
            case "MaxPool":
                window, strides = _parse_pair(data["kernel"]), _parse_pair(data["strides"])
                node = g.MaxPool(name=name, inputs=maps, window=window, strides=strides, padding=_read_padding(data))
            case _:
                raise ModelError(f"{self.path}: type {kind} of layer {name!r} is not supported; it has {data}")
        self.nodes[name] = node
        self.names[key] = name


def _make_conv(name: str, maps: tuple[str, ...], data: dict[str, str], kernel: g.Array) -> g.Conv:
    depthwise = kernel.ndim == 5  # (groups, out, in, height, width)
    if depthwise:
        if kernel.shape[2] != 1:
            raise ModelError(
                f"layer {name!r} is a grouped convolution with {kernel.shape[2]} channels per group; expected 1"
            )
        kernel = kernel[:, :, 0].transpose(2, 3, 0, 1)
    else:
        kernel = kernel.transpose(2, 3, 1, 0)
    return g.Conv(
        name=name, inputs=maps, kernel=np.ascontiguousarray(kernel), depthwise=depthwise,
        strides=_parse_pair(data["strides"]), dilations=_parse_pair(data["dilations"]), padding=_read_padding(data),
    )  # fmt: skip


def _evaluate(kind: str, layer: ET.Element, values: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    """Evaluate a layer whose inputs are all constants."""
    first = values[0]
    # The result of an operator on small constants can be large.
    label = f"layer {layer.get('name')!r}"
    check_elements(np.shape(first) if kind == "Reshape" else np.broadcast_shapes(*map(np.shape, values)), label)
    match kind:
        case "Convert":
            return first.astype(_DTYPES[_get_attributes(layer)["destination_type"]])
        case "Reshape":
            return first.reshape([int(i) for i in values[1]])
        case "Multiply":
            return np.asarray(first, np.float32) * np.asarray(values[1], np.float32)
        case "Subtract":
            return np.asarray(first, np.float32) - np.asarray(values[1], np.float32)
        case "FakeQuantize":
            x, low, high, out_low, out_high = (np.asarray(v, np.float32) for v in values)
            steps = int(_get_attributes(layer)["levels"]) - 1
            level = np.round((np.clip(x, low, high) - low) / (high - low) * steps)
            return np.asarray(level / steps * (out_high - out_low) + out_low, np.float32)
    raise ModelError(f"type {kind} of layer {layer.get('name')!r} is not supported on constants")


def _get_attributes(layer: ET.Element) -> dict[str, str]:
    data = layer.find("data")
    return {} if data is None else dict(data.attrib)


def _parse_integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _parse_pair(text: str) -> tuple[int, int]:
    height, width = _parse_integers(text)
    return height, width


def _read_padding(data: dict[str, str]) -> g.Padding:
    if data.get("auto_pad", "explicit") == "valid":
        return "VALID"
    (top, left), (bottom, right) = _parse_pair(data["pads_begin"]), _parse_pair(data["pads_end"])
    return ((top, bottom), (left, right)) if top or left or bottom or right else "VALID"
