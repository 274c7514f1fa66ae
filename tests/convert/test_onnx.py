"""ONNX models: compared with ONNX's reference evaluator and with PyTorch, and damaged or unsupported files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.importers import onnx as importer
from edgepose.convert.importers.detect import ImportOptions, find_source
from edgepose.convert.ir import graph as g
from edgepose.convert.passes.fold import fold
from edgepose.runtime.errors import MissingExtraError, ModelError

from ..conftest import find_test_data, find_weights
from .networks import conv, small_graph
from .onnx_files import OnnxWriter, run_reference, write_onnx

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
pytestmark = pytest.mark.convert
RNG = np.random.default_rng(5)
OPSETS = (9, 10, 11, 13, 18, 22)
Build = Callable[[OnnxWriter], str]


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Give each test the same random numbers, whatever tests run before it."""
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (1, 64, 96, 3)).astype(np.float32)


def run_graph(graph: g.Graph, images: np.ndarray) -> list[np.ndarray]:
    from edgepose.convert.exporters import tensorflow

    results = tensorflow.run_graph(graph, images)
    return [results[graph.heatmaps].numpy(), results[graph.pafs].numpy()]


def assert_same(expected: list[np.ndarray], got: list[np.ndarray]) -> None:
    for a, b in zip(expected, got, strict=True):
        assert a.shape == b.shape
        assert np.abs(a).max() > 1e-3
        assert np.abs(a - b).max() <= 1e-4 * np.abs(a).max()


def write_heads(writer: OnnxWriter, source: str, channels: int) -> list[str]:
    """Add two 1x1 convolutions for heatmaps and PAFs."""
    for name, maps in (("heatmaps", 19), ("pafs", 38)):
        kernel = RNG.normal(0, channels**-0.5, (maps, channels, 1, 1)).astype(np.float32)
        writer.add("Conv", [source, writer.add_constant(f"{name}/kernel", kernel)], name)
    return ["heatmaps", "pafs"]


def make_model(build: Build, opset: int = 18, channels: int = 8, shape: tuple[Any, ...] = (1, 3, 64, 96)) -> Any:
    """Return a model: a convolution `x` with 8 channels and ReLU `y`, what `build` adds, and two heads."""
    writer = OnnxWriter(opset)
    kernel = RNG.normal(0, 0.01, (8, 3, 3, 3)).astype(np.float32)
    writer.add("Conv", ["image", writer.add_constant("k", kernel)], "x", strides=[2, 2], pads=[1, 1, 1, 1])
    writer.add("Relu", ["x"], "y")
    outputs = write_heads(writer, build(writer), channels)
    return writer.finish(shape, outputs)


def load(model: Any, folder: Path, **options: Any) -> g.Graph:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return find_source(str(path)).load(ImportOptions(**options)).graph


@pytest.mark.parametrize("opset", OPSETS)
def test_a_graph_with_every_operator_is_read_back(opset: int, tmp_path: Path, images: np.ndarray) -> None:
    graph = small_graph()
    model = write_onnx(graph, tmp_path / "net.onnx", opset)
    read = find_source(str(tmp_path / "net.onnx")).load(ImportOptions()).graph
    assert (read.heatmaps, read.pafs, read.parameters) == ("heatmaps", "pafs", graph.parameters)
    assert_same(run_graph(graph, images), run_graph(read, images))
    # The size does not divide by the stride: resizes follow the size of the other feature map.
    odd = images[:, :56, :88]
    assert_same(run_graph(graph, odd), run_graph(read, odd))
    if opset >= 18:  # the reference evaluator has no earlier BatchNormalization and Upsample
        assert_same(run_reference(model, images), run_graph(read, images))
    elif opset >= 11:
        folded = write_onnx(fold(graph), tmp_path / "folded.onnx", opset)
        read = find_source(str(tmp_path / "folded.onnx")).load(ImportOptions()).graph
        assert_same(run_reference(folded, images), run_graph(read, images))


def test_initializers_can_be_listed_as_inputs(tmp_path: Path, images: np.ndarray) -> None:
    writer = OnnxWriter(13)
    graph = fold(small_graph())
    writer.add_graph(graph)
    model = writer.finish((1, 3, 64, 96), ["heatmaps", "pafs"], listed_initializers=True)
    assert_same(run_graph(graph, images), run_graph(load(model, tmp_path), images))


def ints(writer: OnnxWriter, name: str, *values: int) -> str:
    return writer.add_constant(name, np.array(values, np.int64))


def weights(writer: OnnxWriter, name: str, *shape: int) -> str:
    return writer.add_constant(name, RNG.normal(0, 0.3, shape).astype(np.float32))


def _add_pad_before_conv(w: OnnxWriter) -> str:
    w.add("Pad", ["y", ints(w, "pads", 0, 0, 1, 2, 0, 0, 0, 1)], "p")
    return w.add("Conv", ["p", weights(w, "kk", 8, 8, 3, 3)], "out", pads=[0, 1, 1, 0], dilations=[1, 2])


def _add_pad_before_pool(w: OnnxWriter) -> str:
    w.add("Pad", ["x", ints(w, "pads", 1, 0, 0, 1), "", ints(w, "axes", 2, 3)], "p")
    return w.add("MaxPool", ["p"], "out", kernel_shape=[2, 2])


def _add_shape_arithmetic(w: OnnxWriter) -> str:
    """Resize to twice the height and width, as PyTorch exports `size=[2 * x.shape[2], 2 * x.shape[3]]`."""
    sides = []
    for axis in (2, 3):
        w.add("Shape", ["x"], f"shape{axis}")
        w.add("Gather", [f"shape{axis}", ints(w, f"axis{axis}", axis)], f"side{axis}", axis=0)
        w.add("Mul", [f"side{axis}", ints(w, f"two{axis}", 2)], f"double{axis}")
        sides.append(f"double{axis}")
    w.add("Shape", ["x"], "all")
    w.add("Slice", ["all", ints(w, "s", 0), ints(w, "e", 2)], "first")
    w.add("Concat", ["first", *sides], "sizes", axis=0)
    return w.add("Resize", ["y", "", "", "sizes"], "out", mode="linear", coordinate_transformation_mode="half_pixel")


def _add_filled_constant(w: OnnxWriter) -> str:
    value = w.numpy_helper.from_array(np.array([0.5], np.float32))
    w.add("ConstantOfShape", [ints(w, "shape", 1, 8, 1, 1)], "filled", value=value)
    w.add("Constant", [], "three", value_float=3.0)
    w.add("Mul", ["filled", "three"], "factor")
    w.add("Mul", ["y", "factor"], "scaled")
    w.add("Sub", ["three", "scaled"], "minus")
    return w.add("Div", ["minus", weights(w, "divisor", 8, 1, 1)], "out")


def _add_split(w: OnnxWriter) -> str:
    w.nodes.append(w.helper.make_node("Split", ["y", ints(w, "parts", 3, 5)], ["a", "b"], axis=1))
    w.nodes.append(w.helper.make_node("Split", ["b"], ["c", "d"], axis=1, num_outputs=2))
    return w.add("Concat", ["d", "a", "c"], "out", axis=1)


def _add_slice(w: OnnxWriter) -> str:
    bounds = [ints(w, "s", 0, -6), ints(w, "e", 2**62, 7), ints(w, "a", 2, 1)]
    w.add("Slice", ["y", *bounds], "cut")
    return w.add("Concat", ["cut", "y"], "out", axis=1)


def _add_ignored(w: OnnxWriter) -> str:
    w.add("Identity", ["y"], "a")
    w.add("Cast", ["a"], "b", to=1)
    w.nodes.append(w.helper.make_node("Dropout", ["b"], ["c", "mask"]))
    w.add("Reshape", ["c", ints(w, "shape", 0, 8, -1, 48)], "d")
    return w.add("Clip", ["d", w.add_constant("zero", np.float32(0))], "out")


def _add_norm_behind_concat(w: OnnxWriter) -> str:
    w.add("Concat", ["x", "y"], "both", axis=-3)
    rows = [w.add_constant(f"row{i}", RNG.uniform(0.5, 1.5, 16).astype(np.float32)) for i in range(4)]
    return w.add("BatchNormalization", ["both", *rows], "out", epsilon=0.1)


def resize(w: OnnxWriter, scale: float = 2, **attributes: Any) -> str:
    scales = w.add_constant("s", np.float32([1, 1, scale, scale]))
    return w.add("Resize", ["y", "", scales], "out", **attributes)


def _add_transposed_block(w: OnnxWriter) -> str:
    """Write the block of trt_pose: a transposed convolution, normalization, ReLU, and an attention."""
    w.add("ConvTranspose", ["y", weights(w, "kk", 8, 6, 4, 4), weights(w, "b", 6)], "t", strides=[2, 2], pads=[1] * 4)
    rows = [w.add_constant(f"row{i}", RNG.uniform(0.5, 1.5, 6).astype(np.float32)) for i in range(4)]
    w.add("BatchNormalization", ["t", *rows], "n")
    w.add("Relu", ["n"], "r")
    w.add("Conv", ["r", weights(w, "gate", 6, 6, 3, 3)], "a", pads=[1] * 4)
    return w.add("Mul", ["r", w.add("Sigmoid", ["a"], "s")], "out")


OPERATORS: dict[str, tuple[Build, int]] = {
    "padding of two operators": (_add_pad_before_conv, 8),
    "padding before a pooling": (_add_pad_before_pool, 8),
    "padding after a ReLU": (
        lambda w: w.add("MaxPool", ["y"], "out", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 8),
    "padding of negative values": (
        lambda w: w.add("MaxPool", ["x"], "out", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]), 8),
    "size rounded up": (
        lambda w: w.add("MaxPool", ["x"], "z", kernel_shape=[5, 5], strides=[1, 1])
        and w.add("MaxPool", ["z"], "out", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), 8),
    "average": (
        lambda w: w.add("AveragePool", ["x"], "out", kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1), 8),
    "groups": (lambda w: w.add("Conv", ["y", weights(w, "kk", 12, 4, 3, 3), weights(w, "b", 12)], "out", group=2), 12),
    "depthwise with a multiplier": (lambda w: w.add("Conv", ["y", weights(w, "kk", 24, 1, 3, 3)], "out", group=8), 24),
    "even kernel, SAME_LOWER": (
        lambda w: w.add("Conv", ["y", weights(w, "kk", 8, 8, 2, 4)], "out", auto_pad="SAME_LOWER"), 8),
    "shape arithmetic": (_add_shape_arithmetic, 8),
    "scale": (
        lambda w: w.add("Resize", ["x", "", w.add_constant("s", np.float32([1, 1, 3, 3]))], "out", mode="linear"), 8),
    "filled constant": (_add_filled_constant, 8),
    "split": (_add_split, 8),
    "slice": (_add_slice, 13),
    "choice of channels": (lambda w: w.add("Gather", ["x", ints(w, "i", 7, 0, 0, -3)], "out", axis=1), 4),
    "sum of three": (lambda w: w.add("Sum", ["x", "y", "x"], "out"), 8),
    "no change": (_add_ignored, 8),
    "transposed convolution": (_add_transposed_block, 6),
    "transposed, kernel 3": (
        lambda w: w.add("ConvTranspose", ["y", weights(w, "kk", 8, 5, 3, 3)], "out", strides=[2, 2],
                        pads=[1, 1, 1, 1], output_padding=[1, 1]), 5),
    "transposed, other pads": (
        lambda w: w.add("ConvTranspose", ["y", weights(w, "kk", 8, 5, 7, 5)], "out", strides=[3, 3],
                        pads=[3, 0, 1, 2]), 5),
    "depth to space": (lambda w: w.add("Relu", [w.add("DepthToSpace", ["x"], "d", blocksize=2)], "out"), 2),
    "depth to space, CRD": (lambda w: w.add("DepthToSpace", ["x"], "out", blocksize=2, mode="CRD"), 2),
    "product": (lambda w: w.add("Mul", ["x", "y"], "out"), 8),
    "limit": (lambda w: w.add("Clip", ["x", *[w.add_constant(f"c{i}", np.float32(i)) for i in (0, 2.5)]], "out"), 8),
    "sigmoid": (lambda w: w.add("Sigmoid", ["x"], "out"), 8),
    "tanh": (lambda w: w.add("Tanh", ["x"], "out"), 8),
    "leaky ReLU": (lambda w: w.add("LeakyRelu", ["x"], "out", alpha=0.2), 8),
    "PReLU": (lambda w: w.add("PRelu", ["x", weights(w, "slope", 8, 1, 1)], "out"), 8),
    "hard swish": (lambda w: w.add("HardSwish", ["x"], "out"), 8),
    "hard sigmoid": (lambda w: w.add("HardSigmoid", ["x"], "out", alpha=0.3), 8),
    "hard swish in two": (lambda w: w.add("Mul", ["x", w.add("HardSigmoid", ["x"], "s", alpha=1 / 6)], "out"), 8),
    "swish": (lambda w: w.add("Mul", [w.add("Sigmoid", ["x"], "s"), "x"], "out"), 8),
    "nearest": (lambda w: resize(w, 3, mode="nearest"), 8),
    "nearest, asymmetric": (
        lambda w: resize(w, 3, nearest_mode="floor", coordinate_transformation_mode="asymmetric"), 8),
    "aligned corners": (lambda w: resize(w, mode="linear", coordinate_transformation_mode="align_corners"), 8),
    "normalization behind a concat": (_add_norm_behind_concat, 16),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_the_result_of_the_reference(name: str, tmp_path: Path, images: np.ndarray) -> None:
    build, channels = OPERATORS[name]
    model = make_model(build, 18, channels)
    read = load(model, tmp_path)
    assert_same(run_reference(model, images), run_graph(read, images))


def test_groups_of_a_transposed_convolution(tmp_path: Path, images: np.ndarray) -> None:
    """The reference evaluator cannot run groups, so it gets one operator for each group."""
    kernel = RNG.normal(0, 0.3, (8, 3, 2, 2)).astype(np.float32)

    def build_one(w: OnnxWriter) -> str:
        return w.add("ConvTranspose", ["y", w.add_constant("kk", kernel)], "out", strides=[2, 2], group=4)

    def build_four(w: OnnxWriter) -> str:
        w.nodes.append(w.helper.make_node("Split", ["y"], list("abcd"), axis=1, num_outputs=4))
        parts = [
            w.add("ConvTranspose", [name, w.add_constant(f"k{name}", part)], f"t{name}", strides=[2, 2])
            for name, part in zip("abcd", np.split(kernel, 4), strict=True)
        ]
        return w.add("Concat", parts, "out", axis=1)

    one, four = make_model(build_one, 18, 12), make_model(build_four, 18, 12)
    # The same weights in front and behind.
    weights_by_name = {tensor.name: tensor for tensor in four.graph.initializer}
    for tensor in one.graph.initializer:
        tensor.CopyFrom(weights_by_name.get(tensor.name, tensor))
    assert_same(run_reference(four, images), run_graph(load(one, tmp_path), images))


@pytest.mark.parametrize("opset", [9, 11])
def test_attributes_of_early_opsets(opset: int, tmp_path: Path, images: np.ndarray) -> None:
    def build(w: OnnxWriter) -> str:
        w.nodes.append(w.helper.make_node("Split", ["x"], ["a", "b"], axis=1, split=[6, 2]))
        if opset == 9:
            w.add("Slice", ["y"], "c", axes=[1], starts=[2], ends=[100])
            w.add("Clip", ["b"], "d", min=0.0)
            w.add("Pad", ["d"], "e", pads=[0, 0, 1, 0, 0, 0, 0, 1])
        else:
            # The reference evaluator cannot run the Slice of opset 11.
            w.add("Gather", ["y", ints(w, "i", 2, 3, 4, 5, 6, 7)], "c", axis=1)
            w.add("Clip", ["b", w.add_constant("zero", np.float32(0))], "d")
            w.add("Pad", ["d", ints(w, "pads", 0, 0, 1, 0, 0, 0, 0, 1)], "e")
        w.add("Conv", ["e", weights(w, "kk", 4, 2, 2, 2)], "f")
        return w.add("Concat", ["a", "c", "f"], "out", axis=1)

    model = make_model(build, opset, 16)
    assert_same(run_reference(model, images), run_graph(load(model, tmp_path), images))


def test_channels_last_behind_transposes(tmp_path: Path, images: np.ndarray) -> None:
    """tf2onnx: the image and the outputs are (batch, height, width, channels), constants too."""
    w = OnnxWriter(13)
    w.add("Sub", ["image", w.add_constant("mean", np.float32([103, 116, 123]))], "centered")
    w.add("Transpose", ["centered"], "t", perm=[0, 3, 1, 2])
    w.add("Conv", ["t", weights(w, "k", 8, 3, 3, 3)], "x", auto_pad="SAME_UPPER", strides=[2, 2])
    w.add("Transpose", ["x"], "x/last", perm=[0, 2, 3, 1])
    w.add("Relu", ["x/last"], "y/last")
    w.add("Transpose", ["y/last"], "y", perm=[0, 3, 1, 2])
    write_heads(w, "y", 8)
    for name in ("heatmaps", "pafs"):
        w.add("Transpose", [name], f"{name}/last", perm=[0, 2, 3, 1])
    w.add("Concat", ["pafs/last", "heatmaps/last"], "both", axis=3)
    model = w.finish((1, "h", "w", 3), ["both"])
    from onnx.reference import ReferenceEvaluator

    [both] = ReferenceEvaluator(model).run(None, {"image": images})
    read = load(model, tmp_path, heatmaps="heatmaps/last", pafs="pafs")
    assert_same([both[..., 38:], both[..., :38]], run_graph(read, images))


def test_the_last_stage_is_the_output(tmp_path: Path, images: np.ndarray) -> None:
    w = OnnxWriter(13)
    w.add("Conv", ["image", weights(w, "k", 8, 3, 3, 3)], "x", pads=[1, 1, 1, 1])
    stages = []
    for stage in (0, 1):
        source = "x" if stage == 0 else w.add("Concat", ["x", *stages[0]], "all", axis=1)
        inside = 8 if stage == 0 else 65
        names = [f"stage_{stage}_pafs", f"stage_{stage}_heatmaps"]
        for name, maps in zip(names, (38, 19), strict=True):
            w.add("Conv", [source, weights(w, f"{name}/k", maps, inside, 1, 1)], name)
        stages.append(names)
    model = w.finish((1, 3, 32, 32), [*reversed(stages[1]), *stages[0]])
    read = load(model, tmp_path)
    assert (read.heatmaps, read.pafs) == ("stage_1_heatmaps", "stage_1_pafs")
    # Values and nodes can be named.
    read = load(model, tmp_path, heatmaps="stage_0_heatmaps", pafs="node/stage_0_pafs")
    assert (read.heatmaps, read.pafs) == ("stage_0_heatmaps", "stage_0_pafs")
    with pytest.raises(ModelError, match="no operator 'nothing'"):
        load(model, tmp_path, heatmaps="nothing", pafs="stage_0_pafs")


def test_what_is_behind_the_outputs_is_ignored(tmp_path: Path) -> None:
    w = OnnxWriter(13)
    w.add("Conv", ["image", weights(w, "k", 8, 3, 3, 3)], "x")
    outputs = write_heads(w, "x", 8)
    w.add("ArgMax", ["heatmaps"], "best", axis=1)
    model = w.finish((1, 3, 32, 32), [*outputs, "best"])
    # Its shape is not known, so it could be the output of a later stage.
    with pytest.raises(ModelError, match=r"operator ArgMax of node 'node/best' \(opset 13\): not supported"):
        load(model, tmp_path)
    assert load(model, tmp_path, heatmaps="heatmaps", pafs="pafs").heatmaps == "heatmaps"
    model.graph.output[2].CopyFrom(w.helper.make_tensor_value_info("best", 7, (1, 1, 30, 30)))
    assert load(model, tmp_path).heatmaps == "heatmaps"


REFUSED: dict[str, tuple[Build, str]] = {
    "unknown": (lambda w: w.add("Softmax", ["y"], "out"), r"Softmax of node 'node/out' \(opset 18\): not supported"),
    "transposed": (
        lambda w: w.add("ConvTranspose", ["y", weights(w, "kk", 8, 8, 4, 4)], "out", strides=[2, 2]),
        r"ConvTranspose of node 'node/out' \(opset 18\): its result is not exactly 2 times as large"),
    "limits": (
        lambda w: w.add("Clip", ["y", *[w.add_constant(f"c{i}", np.float32(i)) for i in (-1, 1)]], "out"),
        "limits values to -1 to 1; expected 0 to a maximum"),
    "negative pooling": (
        lambda w: w.add("MaxPool", ["x"], "out", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        "pads a feature map that can be negative"),
    "average": (
        lambda w: w.add("AveragePool", ["y"], "out", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        "expected count_include_pad=1"),
    "size rounded up": (
        lambda w: w.add("MaxPool", ["y"], "out", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1),
        "it rounds its size up; export the model with ceil_mode=False"),
    "cubic": (lambda w: resize(w, mode="cubic"), "its interpolation is cubic"),
    "nearest": (
        lambda w: resize(w, 3, mode="nearest", coordinate_transformation_mode="asymmetric"),
        "nearest neighbor with asymmetric and round_prefer_floor does not repeat"),
    "SELU": (lambda w: w.add("Selu", ["y"], "out"), r"Selu of node 'node/out' \(opset 18\): not supported"),
    "fraction": (lambda w: resize(w, 1.5, mode="linear"), "its scale is 1.5; expected a whole number"),
    "crop": (
        lambda w: resize(w, mode="linear", coordinate_transformation_mode="tf_crop_and_resize"),
        "its coordinates are tf_crop_and_resize"),
    "two sizes": (
        lambda w: w.add("Mul", ["y", w.add("MaxPool", ["y"], "s", kernel_shape=[2, 2])], "out"),
        "it multiplies feature maps of the shapes"),
    "pixels": (lambda w: w.add("Add", ["y", weights(w, "c", 32, 48)], "out"), r"constant has the shape \(32, 48\)"),
    "reflection": (
        lambda w: w.add("Pad", ["y", ints(w, "p", 0, 0, 1, 1, 0, 0, 1, 1)], "out", mode="reflect"),
        "its mode is reflect; expected constant zeros"),
    "shape": (lambda w: w.add("Reshape", ["y", ints(w, "s", 1, 16, 16, 48)], "out"), "changes the shape"),
    "integers": (lambda w: w.add("Cast", ["y"], "out", to=6), "converts a feature map to integers"),
    "infinite": (
        lambda w: w.add("Conv", ["y", w.add_constant("kk", np.full((8, 8, 1, 1), np.inf, np.float32))], "out"),
        "values that are not finite"),
    "kernel": (lambda w: w.add("Conv", ["y", weights(w, "kk", 8, 5, 1, 1)], "out"), "its input has 8 channels"),
    "missing": (lambda w: w.add("Relu", ["nowhere"], "out"), "reads 'nowhere', which is not in the file"),
    "cycle": (lambda w: w.add("Add", [w.add("Relu", ["out"], "z"), "y"], "out"), "cycle at"),
    "second image": (
        lambda w: w.add("Add", ["y", w.add("Shape", ["y"], "y")], "out"), "two operators write 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_graph_cannot_express_is_named(name: str, tmp_path: Path) -> None:
    build, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as error:
        load(make_model(build), tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/net.onnx: ")


def make_plain_model(opset: int = 13) -> Any:
    return make_model(lambda w: "y", opset)


@pytest.mark.parametrize("opset", [8, 23])
def test_an_unsupported_opset_is_named(opset: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"opset {opset}; expected 9 to 22: export it again with opset_version=17"):
        load(make_plain_model(opset), tmp_path)


def test_declared_shapes_are_checked(tmp_path: Path) -> None:
    model = make_plain_model()
    info = onnx.helper.make_tensor_value_info
    model.graph.value_info.extend([info("y", 1, (1, 8, 32, 48)), info("x", 1, (None, 8, None, 48))])
    load(model, tmp_path)
    model.graph.value_info.append(info("x", 1, (1, 8, 31, 48)))
    with pytest.raises(ModelError, match=r"declares its result as \(1, 8, 31, 48\), but it is \(1, 8, 32, 48\)"):
        load(model, tmp_path)


def test_inputs_that_are_not_one_image_are_refused(tmp_path: Path) -> None:
    model = make_plain_model()
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("image", 1, (1, 4, 64, 96)))
    with pytest.raises(ModelError, match=r"shape \(1, 4, 64, 96\); expected an image with 3 channels"):
        load(model, tmp_path)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("image", 1, (1, 3, 1 << 20, 96)))
    with pytest.raises(ModelError, match="expected at most 16384"):
        load(model, tmp_path)


def test_weights_in_a_second_file_are_read(tmp_path: Path, images: np.ndarray) -> None:
    graph = fold(small_graph())
    model = write_onnx(graph, tmp_path / "whole.onnx")
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    assert_same(run_graph(graph, images), run_graph(importer.load(path), images))
    data = tmp_path / "net.onnx.data"
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"outside of the file 'net\.onnx\.data' \(truncated"):
        importer.load(path)
    data.unlink()
    with pytest.raises(ModelError, match=r"in the file 'net\.onnx\.data', which is missing"):
        importer.load(path)
    (tmp_path / "secret").write_bytes(content)
    for location in ("../secret", str(tmp_path / "secret"), "..", ""):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = location
        (tmp_path / "inside").mkdir(exist_ok=True)
        (tmp_path / "inside/net.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="expected a file in the folder of the model"):
            importer.load(tmp_path / "inside/net.onnx")


def test_large_constants_are_refused_before_they_are_made(tmp_path: Path) -> None:
    def build(w: OnnxWriter) -> str:
        w.add("ConstantOfShape", [ints(w, "shape", 1, 8, 1 << 14, 1 << 14)], "filled")
        return w.add("Add", ["y", "filled"], "out")

    with pytest.raises(ModelError, match="expected at most 67108864 elements"):
        load(make_model(build), tmp_path)


def test_a_constant_that_is_joined_many_times_is_refused(tmp_path: Path) -> None:
    def build(w: OnnxWriter) -> str:
        w.add("ConstantOfShape", [ints(w, "shape", 1, 1 << 20)], "filled")
        w.add("Concat", ["filled"] * 100, "joined", axis=0)
        return w.add("Add", ["y", "joined"], "out")

    with pytest.raises(ModelError, match=r"operator Concat .* expected at most 67108864 elements"):
        load(make_model(build), tmp_path)


def test_damaged_files_are_one_line(tmp_path: Path, rng: np.random.Generator) -> None:
    whole = write_onnx(fold(small_graph()), tmp_path / "net.onnx").SerializeToString()
    path, refused = tmp_path / "net.onnx", 0
    for _ in range(200):
        damaged = bytearray(whole[: int(rng.integers(1, len(whole) + 1))] if rng.random() < 0.3 else whole)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        for read in (lambda: find_source(str(path)), lambda: importer.load(path)):
            try:
                read()
            except ModelError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 50


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_onnx(fold(small_graph()), tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[onnx\]"):
        importer.load(tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["human-pose-estimation-0001", "mobilenet_thin"])
def test_a_real_network_is_the_same_as_an_onnx_model(name: str, tmp_path: Path) -> None:
    """The published network, written as an ONNX model with its own name of every node."""
    graph = find_source(str(find_weights(name))).load(ImportOptions()).graph
    write_onnx(graph, tmp_path / "net.onnx", 11)
    read = find_source(str(tmp_path / "net.onnx")).load(ImportOptions()).graph
    golden = np.load(sorted(find_test_data("golden").glob("*/*.npz"))[0])
    image = golden["input_bgr"][None, :128, :160].astype(np.float32)
    assert_same(run_graph(graph, image), run_graph(read, image))


@pytest.mark.parametrize(("opset", "dynamic"), [(9, False), (11, True), (13, False), (18, True)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_an_export_of_pytorch_gives_its_results(opset: int, dynamic: bool, tmp_path: Path) -> None:
    """A small network of the kind: ELU and ReLU, batch normalization, dilation, a shortcut, an enlarged branch."""
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
            self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 2, 2, groups=8, bias=False), nn.ELU(inplace=True))
            self.pool = nn.MaxPool2d(3, 2, 1)
            self.heatmaps, self.pafs = nn.Conv2d(16, 19, 1), nn.Conv2d(16, 38, 1)

        def forward(self, image: Any) -> Any:
            x = self.stem((image - 128) / 256)
            y = x + self.depthwise(x)
            small = self.pool(x)
            if opset > 10:  # before, the export has other coordinates than PyTorch
                small = nn.functional.interpolate(small, size=y.shape[2:], mode="bilinear", align_corners=False)
                y = torch.cat([y, small], 1)
            else:
                y = torch.cat([y, x], 1)
            return self.heatmaps(y), self.pafs(y)

    torch.manual_seed(1)
    net = Net()
    net.stem[1].running_mean.normal_(0, 0.1)
    net.stem[1].running_var.uniform_(0.01, 0.05)
    net.eval()
    axes = {"dynamic_axes": {"image": {0: "n", 2: "h", 3: "w"}}} if dynamic else {}
    path = tmp_path / "net.onnx"
    torch.onnx.export(
        net, torch.zeros(1, 3, 64, 96), str(path), opset_version=opset, dynamo=False, input_names=["image"], **axes
    )
    read = find_source(str(path)).load(ImportOptions()).graph
    for height, width in ((64, 96), (96, 72)):
        image = torch.randint(0, 256, (1, 3, height, width)).float()
        with torch.no_grad():
            expected = [result.numpy().transpose(0, 2, 3, 1) for result in net(image)]
        assert_same(expected, run_graph(read, image.numpy().transpose(0, 2, 3, 1)))


def test_moved_pixels_of_early_exports_are_a_note(tmp_path: Path) -> None:
    model = write_onnx(fold(small_graph()), tmp_path / "net.onnx", 10)
    notes: list[str] = []
    importer.load(tmp_path / "net.onnx", note=notes.append)
    assert notes == []
    model.producer_name = "pytorch"
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    importer.load(tmp_path / "net.onnx", note=notes.append)
    assert len(notes) == 1
    assert "half a pixel off" in notes[0]


def test_half_precision_weights_become_float(tmp_path: Path) -> None:
    graph = g.Graph(
        {
            n.name: n
            for n in (g.Input(name="image"), conv("h", "image", (1, 1, 3, 19)), conv("p", "image", (1, 1, 3, 38)))
        },
        "h",
        "p",
    )
    w = OnnxWriter(13)
    for node in graph.nodes.values():
        if isinstance(node, g.Conv):
            w.add_constant(f"{node.name}/k", node.kernel.transpose(3, 2, 0, 1).astype(np.float16))
            w.add("Cast", [f"{node.name}/k"], f"{node.name}/k32", to=1)
            w.add("Conv", ["image", f"{node.name}/k32"], node.name)
    kernel = load(w.finish((None, 3, None, None), ["h", "p"]), tmp_path).nodes["h"].kernel  # type: ignore[attr-defined]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, graph.nodes["h"].kernel, rtol=1e-3)  # type: ignore[attr-defined]
