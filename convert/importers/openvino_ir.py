"""Imports an OpenVINO IR (`.xml` + `.bin`, version 10 and later) as a float `Graph`.

Weights stored as integers behind Convert, FakeQuantize, Multiply and Subtract are taken at their float value.
FakeQuantize on activations only simulates integer arithmetic and is left out. Layout: the IR is NCHW with OIHW
kernels, ours is NHWC with HWIO.
Source of the operators' meaning: OpenVINO operation set 1 specification.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # nosec B405
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..ir.output_heads import choose_outputs
from .limits import Budget, check_elements, check_file_size

_DTYPES = {
    "f32": "<f4", "f16": "<f2", "f64": "<f8", "i64": "<i8", "i32": "<i4", "i16": "<i2", "i8": "i1",
    "u64": "<u8", "u32": "<u4", "u16": "<u2", "u8": "u1", "boolean": "u1",
}  # fmt: skip


def load(xml_path: Path, *, heatmaps: str | None = None, pafs: str | None = None) -> g.Graph:
    """The network in `xml_path` and the weights in the `.bin` beside it; its results are recognized by their
    channels, or named.

    Raises ModelError where a file is missing or damaged, or an operator has no counterpart here.
    """
    bin_path = xml_path.with_suffix(".bin")
    if not bin_path.is_file():
        raise ModelError(f"{xml_path}: an OpenVINO IR needs its weights beside it, expected {bin_path.name}")
    try:
        check_file_size(xml_path.stat().st_size)
        # Python 3.11 comes with an expat that limits entities (2.4 or later); nothing outside the file is loaded.
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
        return _Importer(xml_path, root, bin_path.read_bytes()).graph(heatmaps, pafs)
    except MemoryError:
        raise ModelError(f"{xml_path}: not enough memory for its constants") from None
    except (OverflowError, RecursionError, KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise ModelError(f"{xml_path}: damaged OpenVINO IR: {type(error).__name__}: {error}") from None


class _Importer:
    """One pass over the layers in file order; constants are evaluated, everything else becomes nodes."""

    def __init__(self, path: Path, root: ET.Element, weights: bytes) -> None:
        self.path, self.weights = path, weights
        self.budget = Budget()
        self.layers: dict[str, ET.Element] = {str(layer.get("id")): layer for layer in root.findall("layers/layer")}
        self.sources: dict[str, dict[int, str]] = {}  # layer -> position of the input -> producing layer
        for edge in root.findall("edges/edge"):
            target = self.sources.setdefault(str(edge.get("to-layer")), {})
            target[int(str(edge.get("to-port")))] = str(edge.get("from-layer"))
        self.constants: dict[str, npt.NDArray[np.generic]] = {}
        self.names: dict[str, str] = {}  # layer -> name of the node that holds its value
        self.nodes: dict[str, g.Node] = {}

    def graph(self, heatmaps: str | None, pafs: str | None) -> g.Graph:
        results = []
        for key in self._ordered():
            layer = self.layers[key]
            inputs = [self.sources[key][port] for port in sorted(self.sources.get(key, {}))]
            kind = str(layer.get("type"))
            if kind == "Result":
                results.append(self.names[inputs[0]])
            elif kind == "Const":
                self.constants[key] = self._constant(layer)
            elif inputs and all(i in self.constants for i in inputs):
                self.constants[key] = _fold(kind, layer, [self.constants[i] for i in inputs])
            else:
                self._import(key, kind, layer, inputs)
        return choose_outputs(str(self.path), self.nodes, results, heatmaps, pafs)

    def _ordered(self) -> list[str]:
        """Layers in an order in which each comes after its sources."""
        order: list[str] = []
        state: dict[str, bool] = {}  # False: being visited, True: done
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
                raise ValueError("its edges form a circle")
            pending.extend(missing)
        return order

    def _constant(self, layer: ET.Element) -> npt.NDArray[np.generic]:
        data = _data(layer)
        dtype = np.dtype(_DTYPES[data["element_type"]])
        offset, size = int(data["offset"]), int(data["size"])
        if offset < 0 or offset + size > len(self.weights):
            raise ValueError(f"constant {layer.get('name')!r} lies outside the .bin (truncated?)")
        shape = _integers(data["shape"])
        self.budget.take(shape, f"constant {layer.get('name')!r}")
        values = np.frombuffer(self.weights, dtype, size // dtype.itemsize, offset)
        return values.reshape(shape)

    def _import(self, key: str, kind: str, layer: ET.Element, inputs: list[str]) -> None:
        name = str(layer.get("name"))
        data = _data(layer)
        maps = tuple(self.names[i] for i in inputs if i in self.names)
        constant = next((self.constants[i] for i in inputs if i in self.constants), None)
        node: g.Node
        match kind:
            case "Parameter":
                node = g.Input(name=name)
            case "Convolution" | "GroupConvolution":
                node = _convolution(name, maps, data, np.asarray(self.constants[inputs[1]], np.float32))
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
                window, strides = _pair(data["kernel"]), _pair(data["strides"])
                node = g.MaxPool(name=name, inputs=maps, window=window, strides=strides, padding=_padding(data))
            case _:
                raise ModelError(f"{self.path}: layer {name!r} is a {kind} {data}, which has no counterpart here")
        self.nodes[name] = node
        self.names[key] = name


def _convolution(name: str, maps: tuple[str, ...], data: dict[str, str], kernel: g.Array) -> g.Conv:
    depthwise = kernel.ndim == 5  # groups, out, in, height, width
    if depthwise:
        if kernel.shape[2] != 1:
            raise ModelError(f"layer {name!r} is a grouped convolution of {kernel.shape[2]} channels a group")
        kernel = kernel[:, :, 0].transpose(2, 3, 0, 1)
    else:
        kernel = kernel.transpose(2, 3, 1, 0)
    return g.Conv(
        name=name, inputs=maps, kernel=np.ascontiguousarray(kernel), depthwise=depthwise,
        strides=_pair(data["strides"]), dilations=_pair(data["dilations"]), padding=_padding(data),
    )  # fmt: skip


def _fold(kind: str, layer: ET.Element, values: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    """The value of an operator all of whose inputs are constants."""
    first = values[0]
    # What an operator makes of small constants may be large.
    what = f"layer {layer.get('name')!r}"
    check_elements(np.shape(first) if kind == "Reshape" else np.broadcast_shapes(*map(np.shape, values)), what)
    match kind:
        case "Convert":
            return first.astype(_DTYPES[_data(layer)["destination_type"]])
        case "Reshape":
            return first.reshape([int(i) for i in values[1]])
        case "Multiply":
            return np.asarray(first, np.float32) * np.asarray(values[1], np.float32)
        case "Subtract":
            return np.asarray(first, np.float32) - np.asarray(values[1], np.float32)
        case "FakeQuantize":
            x, low, high, out_low, out_high = (np.asarray(v, np.float32) for v in values)
            steps = int(_data(layer)["levels"]) - 1
            level = np.round((np.clip(x, low, high) - low) / (high - low) * steps)
            return np.asarray(level / steps * (out_high - out_low) + out_low, np.float32)
    raise ModelError(f"layer {layer.get('name')!r}: a constant goes through a {kind}, which has no counterpart here")


def _data(layer: ET.Element) -> dict[str, str]:
    data = layer.find("data")
    return {} if data is None else dict(data.attrib)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _pair(text: str) -> tuple[int, int]:
    height, width = _integers(text)
    return height, width


def _padding(data: dict[str, str]) -> g.Padding:
    if data.get("auto_pad", "explicit") == "valid":
        return "VALID"
    (top, left), (bottom, right) = _pair(data["pads_begin"]), _pair(data["pads_end"])
    return ((top, bottom), (left, right)) if top or left or bottom or right else "VALID"
