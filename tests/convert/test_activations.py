"""Activation functions and resizes: all exporters compute the same, in float and in integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest

from edgepose.convert.ir import graph as g
from edgepose.convert.ir import graph_file
from edgepose.runtime.model.interpreter import Network

from .networks import conv

pytestmark = [pytest.mark.convert, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

KINDS: tuple[g.ActivationKind, ...] = get_args(g.ActivationKind)
RESIZES: dict[str, dict[str, Any]] = {
    "nearest": {"nearest": True}, "bilinear": {}, "centers": {"half_pixel_centers": True},
    "corners": {"align_corners": True},
}  # fmt: skip


def make_graph(kind: g.ActivationKind = "relu", resize: str = "bilinear") -> g.Graph:
    """Return a network with an activation behind a convolution, a slice and a resize by a factor of 2."""
    slopes = {"leaky_relu": np.full(1, 0.2, np.float32), "prelu": np.linspace(-0.3, 0.6, 8, dtype=np.float32)}
    one = np.ones(1, np.float32)
    nodes = [
        g.Input(name="image"),
        g.Affine(name="scaled", inputs=("image",), scale=one / 128, offset=-one),
        conv("first", "scaled", (3, 3, 3, 8), strides=(8, 8)),
        g.Activation(name="active", inputs=("first",), kind=kind, alpha=slopes.get(kind)),
        g.Slice(name="part", inputs=("active",), start=2, stop=8),
        g.ResizeLike(name="large", inputs=("part", "part"), factor=2, **RESIZES[resize]),
        conv("heatmaps", "large", (1, 1, 6, 19)),
        conv("pafs", "large", (1, 1, 6, 38)),
    ]
    return g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")


GRAPHS = [(kind, "bilinear") for kind in KINDS] + [("relu", resize) for resize in RESIZES if resize != "bilinear"]


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 256, (4, 8, 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)


def compute(graph: g.Graph, images: np.ndarray) -> np.ndarray:
    from edgepose.convert.exporters import tensorflow

    return np.asarray(tensorflow.run_graph(graph, images.astype(np.float32))[graph.pafs])


def run_flatbuffer(content: bytes, folder: Path, images: np.ndarray) -> np.ndarray:
    """Run a TFLite file and return the dequantized PAFs."""
    path = folder / "net.tflite"
    path.write_bytes(content)
    network = Network(path)
    info = next(info for info in network.outputs if info.shape[3] == 38)
    results = []
    for image in images:
        is_int8 = network.inputs[0].dtype == "int8"
        network.get_tensor(network.inputs[0])[0] = image.astype(np.int16) - 128 if is_int8 else image
        network.invoke()
        values = network.get_tensor(info).astype(np.float32)
        results.append((values - info.quantization.zero_point) * np.float32(info.quantization.scale))
    del network
    return np.concatenate(results)


@pytest.mark.parametrize(("kind", "resize"), GRAPHS)
def test_float_exporters_compute_the_same(
    kind: g.ActivationKind, resize: str, images: np.ndarray, tmp_path: Path
) -> None:
    from edgepose.convert.exporters import keras
    from edgepose.convert.exporters.tflite import to_tflite

    graph = make_graph(kind, resize)
    expected = compute(graph, images)
    model = keras.to_keras(graph)
    results = {
        "keras": np.asarray(model(images.astype(np.float32))["pafs"]),
        "read back": compute(keras.from_keras(graph, model), images),
        "TFLite": run_flatbuffer(to_tflite(graph, 64, 64, "float32"), tmp_path, images),
    }
    graph_file.save(graph, tmp_path / "graph.npz")
    results["stored"] = compute(graph_file.load(tmp_path / "graph.npz"), images)
    for name, result in results.items():
        np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize(("kind", "resize"), GRAPHS)
def test_pytorch_computes_the_same(kind: g.ActivationKind, resize: str, images: np.ndarray) -> None:
    torch = pytest.importorskip("torch", reason="training needs PyTorch")
    from edgepose.convert.distill.torch_graph import GraphModule

    graph = make_graph(kind, resize)
    with torch.no_grad():
        batch = torch.from_numpy(images.astype(np.float32).transpose(0, 3, 1, 2).copy())
        result = GraphModule(graph)(batch, [graph.pafs])[graph.pafs].numpy().transpose(0, 2, 3, 1)
    expected = compute(graph, images)
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("kind", "resize"), GRAPHS)
def test_integer_networks_compute_the_same(
    kind: g.ActivationKind, resize: str, images: np.ndarray, tmp_path: Path
) -> None:
    from edgepose.convert.passes.fold import fold
    from edgepose.convert.passes.simplify import simplify
    from edgepose.convert.quantize import layerwise
    from edgepose.convert.quantize.pipeline import fit_network
    from edgepose.convert.quantize.write import write_flatbuffer

    graph = simplify(fold(make_graph(kind, resize)))
    plan = fit_network(graph, images, "int8", 18).plan
    content, operators = write_flatbuffer(plan, 64, 64)
    assert operators.get("DEQUANTIZE", 0) == 0
    result = run_flatbuffer(content, tmp_path, images)
    simulated = layerwise.run_quantized_network(plan, images)[plan.graph.pafs]
    expected = compute(graph, images)
    scale = np.sqrt(np.mean(expected**2))
    assert np.sqrt(np.mean((result - simulated) ** 2)) < 0.04 * scale
    assert np.sqrt(np.mean((result - expected) ** 2)) < 0.05 * scale


def make_limited_graph() -> g.Graph:
    """Return a network whose ReLUs have other limits than 6, one per channel, one for all, and two in a row."""

    def limit(name: str, source: str, *values: float) -> g.Activation:
        return g.Activation(name=name, inputs=(source,), kind="relu6", cap=np.array(values, np.float32))

    one = np.ones(1, np.float32)
    nodes: list[g.Node] = [
        g.Input(name="image"),
        g.Affine(name="scaled", inputs=("image",), scale=one / 32, offset=0 * one),
        conv("first", "scaled", (3, 3, 3, 8), strides=(8, 8)),
        limit("limited", "first", 3.0),
        g.Activation(name="again", inputs=("limited",), kind="relu"),
        conv("depthwise", "again", (3, 3, 8, 1), depthwise=True),
        g.Activation(name="rectified", inputs=("depthwise",), kind="relu"),
        limit("channels", "rectified", *np.linspace(0.5, 4, 8)),
        conv("square", "channels", (1, 1, 8, 8)),
        g.Activation(name="six", inputs=("square",), kind="relu6"),
        limit("two", "six", 2.0),
        g.Add(name="sum", inputs=("two", "channels")),
        conv("heatmaps", "sum", (1, 1, 8, 19)),
        conv("pafs", "sum", (1, 1, 8, 38)),
    ]
    return g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")


def test_relu_limits_need_no_operator(images: np.ndarray, tmp_path: Path) -> None:
    """Limits become ReLU6 in the convolutions; channels that are added to others with another limit keep theirs."""
    from edgepose.convert.exporters.tflite import to_tflite
    from edgepose.convert.passes.fold import fold
    from edgepose.convert.passes.relu_limits import change_limits_to_six
    from edgepose.convert.passes.simplify import simplify
    from edgepose.convert.quantize.pipeline import fit_network
    from edgepose.convert.quantize.write import write_flatbuffer

    graph = make_limited_graph()
    expected = compute(graph, images)
    simplified = simplify(fold(graph))
    changed = change_limits_to_six(simplified)
    caps = {node.name: node.cap for node in changed.nodes.values() if isinstance(node, g.Activation)}
    assert [name for name, cap in caps.items() if cap is None] == ["limited"]
    assert list(caps) == ["limited", "channels", "two"]
    assert change_limits_to_six(make_graph("relu6")).nodes["active"] == make_graph("relu6").nodes["active"]
    for same in (simplified, changed):
        np.testing.assert_allclose(compute(same, images), expected, atol=1e-5 * np.abs(expected).max())
    result = run_flatbuffer(to_tflite(changed, 64, 64, "float32"), tmp_path, images)
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())
    _, operators = write_flatbuffer(fit_network(changed, images, "int8", 18).plan, 64, 64)
    assert set(operators) == {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D"}


def test_keras_limits_become_relu6_of_the_convolutions(images: np.ndarray, tmp_path: Path) -> None:
    """Keras writes ReLU(max_value) as a minimum and a maximum; in the model file no operator of its own remains."""
    from edgepose.convert.convert import ConversionOptions, convert
    from edgepose.convert.exporters import keras
    from edgepose.convert.importers import detect

    limit = np.full(1, 3.0, np.float32)
    graph = make_limited_graph()
    last = g.Activation(name="limited", inputs=("first",), kind="relu6", cap=limit)
    nodes = [graph.nodes["image"], graph.nodes["scaled"], graph.nodes["first"], last]
    nodes += [conv("heatmaps", "limited", (1, 1, 8, 19)), conv("pafs", "limited", (1, 1, 8, 38))]
    graph = g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")
    keras.to_keras(graph).save(tmp_path / "net.keras")
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    for precision in ("float32", "int8"):
        options = ConversionOptions(precision=precision, input_size=(64, 64), calibration=tmp_path)
        path = tmp_path / f"{precision}.tflite"
        convert(detect.find_source(str(tmp_path / "net.keras")), path, options, lambda text: None)
        network = Network(path)
        assert {name for name, _, _ in network.list_operators()} <= {"CONV_2D", "MUL"}
        del network
        result, expected = run_flatbuffer(path.read_bytes(), tmp_path, images), compute(graph, images)
        allowed = 1e-5 if precision == "float32" else 0.05
        assert np.sqrt(np.mean((result - expected) ** 2)) < allowed * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize("size", [64, 68, 66])
def test_a_stride_larger_than_the_kernel_gives_the_same_in_tflite(size: int, tmp_path: Path) -> None:
    """XNNPACK computed wrong values for padding SAME; the numbers of the padding are written instead."""
    from edgepose.convert.exporters.tflite import to_tflite
    from edgepose.convert.passes.padding import spell_out_padding

    nodes = [
        g.Input(name="image"),
        conv("first", "image", (3, 3, 3, 8), strides=(4, 4)),
        conv("heatmaps", "first", (1, 1, 8, 19), strides=(2, 2)),
        conv("pafs", "first", (1, 1, 8, 38), strides=(2, 2)),
    ]
    graph = g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
    exact = spell_out_padding(graph, size, size)
    expected = compute(graph, images)
    np.testing.assert_array_equal(compute(exact, images), expected)
    result = run_flatbuffer(to_tflite(exact, size, size, "float32"), tmp_path, images)
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())
