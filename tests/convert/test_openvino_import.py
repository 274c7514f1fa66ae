"""OpenVINO IRs as current tools write them: the maps are those of OpenVINO's own runtime."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.importers import openvino_ir
from edgepose.convert.ir import graph as g
from edgepose.runtime.errors import ModelError

pytestmark = pytest.mark.convert
ov = pytest.importorskip("openvino", reason="openvino is not installed")
ops = pytest.importorskip("openvino.opset13", reason="openvino is not installed")
preprocess = pytest.importorskip("openvino.preprocess", reason="openvino is not installed")

HEIGHT, WIDTH = 64, 96
RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Give each test the same random numbers, whatever tests run before it."""
    RNG.bit_generator.state = np.random.default_rng(2).bit_generator.state


Block = Callable[[Any], Any]
"""Function that adds operators behind a feature map of 8 channels, or behind the image."""


def make_constant(*shape: int, scale: float = 1.0) -> Any:
    values = RNG.normal(0, scale, shape).astype(np.float32)
    return ops.constant(values)


def convolve(source: Any, inputs: int, outputs: int, side: int = 3, stride: int = 1, **options: Any) -> Any:
    kernel = make_constant(outputs, inputs, side, side, scale=(1 / (inputs * side * side)) ** 0.5)
    pads = [side // 2] * 2
    return ops.convolution(source, kernel, [stride] * 2, pads, pads, [1, 1], **options)


def build_model(
    shape: list[Any], before: Block = lambda x: x, inside: Block = lambda x: x, after: Block = lambda x: x
) -> Any:
    """Build a model with heatmaps and PAFs of stride 8.

    Args:
        shape: Shape of the image, (N, 3, H, W).
        before: Operators on the image.
        inside: Operators on the features, which have 8 channels and stride 4.
        after: Operators on both outputs.
    """
    image = ops.parameter(ov.PartialShape(shape), np.float32, name="image")
    x = ops.multiply(before(image), ops.constant(np.float32(1 / 255)))
    x = ops.relu(convolve(x, 3, 8, stride=2))
    x = inside(ops.add(convolve(x, 8, 8, stride=2), make_constant(1, 8, 1, 1, scale=0.1)))
    x = ops.relu(convolve(x, 8, 8, stride=2))
    heatmaps, pafs = (after(convolve(x, 8, count, side=1)) for count in (19, 38))
    return ov.Model([ops.result(pafs), ops.result(heatmaps)], [image], "net")


def save(model: Any, folder: Path, *, fp16: bool = False) -> Path:
    path = folder / "net.xml"
    ov.save_model(model, str(path), compress_to_fp16=fp16)
    return path


def run_original(path: Path, image: np.ndarray) -> list[np.ndarray]:
    """Run an IR in OpenVINO on an image (1, height, width, 3), and return its outputs with channels last."""
    core = ov.Core()
    model = core.read_model(str(path))
    parameter = model.inputs[0]
    if parameter.partial_shape[1].is_static and parameter.partial_shape[1].get_length() == 3:
        image = image.transpose(0, 3, 1, 2)
    image = np.ascontiguousarray(image).astype(parameter.element_type.to_dtype())
    results = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])
    values = [np.asarray(value) for value in results.values()]
    return [value if value.shape[3] in (19, 38, 57) else value.transpose(0, 2, 3, 1) for value in values]


def check(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH), **names: str) -> g.Graph:
    """Compare the imported graph with OpenVINO on a random image."""
    from edgepose.convert.exporters import tensorflow

    image = np.random.default_rng(7).integers(0, 256, (1, *size, 3)).astype(np.float32)
    expected = run_original(path, image)
    graph = openvino_ir.load(path, **names)
    results = tensorflow.run_graph(graph, image)
    for name, channels in ((graph.heatmaps, slice(-19, None)), (graph.pafs, slice(0, 38))):
        values = results[name].numpy()
        truth = next(
            (one for one in expected if one.shape == values.shape), expected[0][..., channels] if expected else None
        )
        assert np.ptp(truth) > 0.01
        np.testing.assert_allclose(values, truth, atol=2e-5 * max(1.0, float(np.abs(truth).max())))
    return graph


INSIDE: dict[str, Block] = {
    "ReLU": lambda x: ops.relu(x),
    "PReLU": lambda x: ops.prelu(x, ops.constant(np.linspace(0.1, 0.9, 8, dtype=np.float32))),
    "leaky ReLU": lambda x: ops.prelu(x, ops.constant(np.array([0.1], np.float32))),
    "Clamp to 6": lambda x: ops.clamp(ops.multiply(x, ops.constant(np.float32(20))), 0.0, 6.0),
    "Clamp to 1": lambda x: ops.clamp(x, 0.0, 1.0),
    "Elu": lambda x: ops.elu(x, 1.0),
    "Sigmoid": lambda x: ops.sigmoid(x),
    "Tanh": lambda x: ops.tanh(x),
    "Swish": lambda x: ops.swish(x),
    "x * sigmoid(x)": lambda x: ops.multiply(x, ops.sigmoid(x)),
    "HSwish": lambda x: ops.hswish(x),
    "depthwise convolution": lambda x: ops.group_convolution(
        x, make_constant(8, 1, 1, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]
    ),
    "depthwise, multiplier 2": lambda x: convolve(
        ops.group_convolution(x, make_constant(8, 2, 1, 3, 3), [1, 1], [2, 2], [2, 2], [2, 2]), 16, 8, side=1
    ),
    "convolution in groups": lambda x: ops.group_convolution(
        x, make_constant(2, 4, 4, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]
    ),
    "auto_pad": lambda x: ops.convolution(
        x, make_constant(8, 8, 4, 4, scale=0.1), [1, 1], [0, 0], [0, 0], [1, 1], auto_pad="same_upper"
    ),
    "Pad": lambda x: ops.convolution(
        ops.pad(x, [0, 0, 1, 2], [0, 0, 1, 0], "constant", ops.constant(np.float32(0))),
        make_constant(8, 8, 3, 3, scale=0.1), [1, 1], [0, 0], [0, 0], [1, 1],
    ),
    "batch normalization": lambda x: ops.batch_norm_inference(
        x, *(ops.constant(RNG.uniform(0.5, 1.5, 8).astype(np.float32)) for _ in range(4)), 1e-3
    ),
    "Subtract, Divide": lambda x: ops.divide(
        ops.subtract(x, make_constant(8, 1, 1)), ops.constant(np.linspace(1, 2, 8, dtype=np.float32).reshape(8, 1, 1))
    ),
    "constant minus map": lambda x: ops.subtract(ops.constant(np.float32(1)), x),
    "residual and Concat": lambda x: convolve(ops.concat([ops.add(x, ops.relu(x)), x], 1), 16, 8, side=1),
    "Split and Concat": lambda x: ops.concat(ops.split(x, 1, 2).outputs()[::-1], 1),
    "parts of a VariadicSplit": lambda x: convolve(
        ops.concat([ops.relu(ops.variadic_split(x, 1, [3, 5]).output(1)), x], 1), 13, 8, side=1
    ),
    "layout there and back": lambda x: ops.transpose(ops.relu(ops.transpose(x, [0, 2, 3, 1])), [0, 3, 1, 2]),
    "Reshape without effect": lambda x: ops.reshape(x, [0, 8, 0, 0], True),
    "MaxPool": lambda x: _enlarge(ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)),
    "MaxPool, padding": lambda x: ops.max_pool(x, [1, 1], [1, 1], [1, 1], [1, 1], [3, 3]).output(0),
    "Interpolate by a scale": lambda x: _enlarge(_shrink(x)),
    "Interpolate to a size": lambda x: ops.interpolate(
        _shrink(x), [HEIGHT // 4, WIDTH // 4], "linear_onnx", "sizes", axes=[2, 3]
    ),
    "Interpolate to the size of a map": lambda x: ops.interpolate(
        _shrink(x), ops.gather(ops.shape_of(x), [2, 3], 0), "linear_onnx", "sizes", axes=[2, 3],
        coordinate_transformation_mode="asymmetric",
    ),
    "nearest neighbor": lambda x: _resize(_shrink(x), (2, 2), "nearest"),
    "nearest neighbor, asymmetric": lambda x: _resize(
        _shrink(x), (2, 2), "nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    ),
    "Interpolate, aligned corners": lambda x: _resize(
        _shrink(x), (2, 2), coordinate_transformation_mode="align_corners"
    ),
}  # fmt: skip


def _shrink(x: Any) -> Any:
    return ops.relu(convolve(x, 8, 8, stride=2))


def _resize(x: Any, factors: tuple[float, float], mode: str = "linear_onnx", **options: str) -> Any:
    return ops.interpolate(x, np.array(factors, np.float32), mode, "scales", axes=[2, 3], **options)


def _enlarge(x: Any) -> Any:
    return _resize(x, (2, 2))


@pytest.mark.parametrize("name", INSIDE)
def test_operators_compute_what_openvino_computes(tmp_path: Path, name: str) -> None:
    check(save(build_model([1, 3, HEIGHT, WIDTH], inside=INSIDE[name]), tmp_path))


@pytest.mark.parametrize("version", [1, 4])
def test_older_versions_of_interpolate_and_pooling(tmp_path: Path, version: int) -> None:
    old = pytest.importorskip(f"openvino.opset{version}", reason="openvino is not installed")

    def add(x: Any) -> Any:
        small = old.max_pool(x, [2, 2], [0, 0], [0, 0], [2, 2])
        size = ops.constant(np.array([HEIGHT // 4, WIDTH // 4], np.int64))
        if version == 1:
            return old.interpolate(small, size, {"axes": [2, 3], "mode": "linear", "align_corners": False})
        factors = ops.constant(np.array([2, 2], np.float32))
        factory = pytest.importorskip("openvino.utils.node_factory").NodeFactory("opset4")
        options = {"mode": "linear", "shape_calculation_mode": "scales", "coordinate_transformation_mode": "half_pixel"}
        inputs = [node.output(0) for node in (small, size, factors, ops.constant(np.array([2, 3], np.int64)))]
        return factory.create("Interpolate", inputs, options)

    check(save(build_model([1, 3, HEIGHT, WIDTH], inside=add), tmp_path))


BEFORE: dict[str, Block] = {
    "Gather": lambda x: ops.gather(x, ops.constant(np.array([2, 1, 0], np.int64)), ops.constant(np.int64(1))),
    "Split": lambda x: ops.concat(ops.split(x, 1, 3).outputs()[::-1], 1),
    "StridedSlice": lambda x: ops.strided_slice(
        x, [0, 3, 0, 0], [0, -4, 0, 0], [1, -1, 1, 1], [1, 0, 1, 1], [1, 0, 1, 1]
    ),
    "Slice": lambda x: ops.slice(x, [2], [-4], [-1], [1]),
}  # fmt: skip


@pytest.mark.parametrize("name", BEFORE)
def test_reversed_channels_need_no_operator(tmp_path: Path, name: str) -> None:
    """They are folded into the first kernel, together with a mean per channel."""
    mean = ops.constant(np.array([10, 60, 120], np.float32).reshape(1, 3, 1, 1))
    model = build_model([1, 3, HEIGHT, WIDTH], before=lambda x: ops.subtract(BEFORE[name](x), mean))
    graph = check(save(model, tmp_path))
    assert len(list(graph.find_nodes(g.Conv))) == 5


def test_reversed_channels_in_front_of_other_operators(tmp_path: Path) -> None:
    def add(x: Any) -> Any:
        small = ops.max_pool(BEFORE["Gather"](x), [1, 1], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
        return ops.group_convolution(small, make_constant(3, 1, 1, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])

    check(save(build_model([1, 3, HEIGHT, WIDTH], before=add), tmp_path))


@pytest.mark.parametrize("fp16", [False, True])
def test_a_preprocessor_in_front_of_the_network(tmp_path: Path, fp16: bool) -> None:
    model = build_model([1, 3, HEIGHT, WIDTH])
    steps = preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().tensor().set_color_format(preprocess.ColorFormat.RGB)
    steps.input().preprocess().convert_element_type(ov.Type.f32).mean([10.0, 60.0, 120.0]).scale([50.0, 60.0, 70.0])
    steps.input().preprocess().convert_color(preprocess.ColorFormat.BGR)
    for number in range(2):
        steps.output(number).model().set_layout(ov.Layout("NCHW"))
        steps.output(number).tensor().set_layout(ov.Layout("NHWC"))
    graph = check(save(steps.build(), tmp_path, fp16=fp16))
    assert graph.input.size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("shape", [[-1, 3, HEIGHT, WIDTH], [1, 3, -1, -1], [-1, 3, -1, -1], [(1, 8), 3, HEIGHT, WIDTH]])
def test_open_shapes(tmp_path: Path, shape: list[Any]) -> None:
    shape = [ov.Dimension(*side) if isinstance(side, tuple) else side for side in shape]
    graph = check(save(build_model(shape, inside=INSIDE["Interpolate to the size of a map"]), tmp_path, fp16=True))
    assert graph.input.size == (None if -1 in shape[2:] else (HEIGHT, WIDTH))


def test_one_output_with_the_pafs_first(tmp_path: Path) -> None:
    model = build_model([1, 3, HEIGHT, WIDTH])
    joined = ops.concat([result.input_value(0) for result in model.get_results()], 1)
    check(save(ov.Model([ops.result(joined)], model.get_parameters(), "net"), tmp_path))


def test_layers_behind_the_outputs_are_ignored(tmp_path: Path) -> None:
    """A part of the network that nobody asked for may have any operators."""
    model = build_model([1, 3, HEIGHT, WIDTH])
    pafs, heatmaps = (result.input_value(0) for result in model.get_results())
    heatmaps.get_node().set_friendly_name("my heatmaps")
    pafs.get_node().set_friendly_name("my pafs")
    peaks = ops.result(ops.topk(heatmaps, ops.constant(np.int64(3)), 1, "max", "value").output(0))
    for results in ([*model.get_results(), peaks], [peaks, ops.result(ops.softmax(pafs, 1))]):
        path = save(ov.Model(results, model.get_parameters(), "net"), tmp_path)
        graph = openvino_ir.load(path, heatmaps="my heatmaps", pafs="my pafs")
        assert g.count_channels(graph)[graph.pafs] == 38
    assert openvino_ir.load(path).heatmaps == "my heatmaps"
    path = save(model, tmp_path)
    tensors = re.findall(r'type="Result"[^>]*output_names="([^"]+)"', path.read_text())
    check(path, pafs=tensors[0], heatmaps=tensors[1])


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (lambda x: ops.avg_pool(x, [1, 1], [1, 1], [1, 1], [3, 3], True), "type AvgPool of layer 'AvgPool_"),
        (
            lambda x: _resize(x, (1, 1), "cubic"),
            "with mode cubic is not supported",
        ),
        (
            lambda x: _resize(_shrink(x), (2.5, 2)),
            "by the factors 2.5",
        ),
        (lambda x: ops.convert(ops.convert(x, "i32"), "f32"), "type Convert of layer .* to i32 is not supported"),
        (lambda x: ops.fake_quantize(x, *(np.float32(v) for v in (0, 1, 0, 1)), 16), "type FakeQuantize .* 16 levels"),
        (lambda x: ops.clamp(x, -1.0, 1.0), "to the range -1 to 1 is not supported"),
        (lambda x: ops.multiply(x, ops.relu(x)), "type Multiply of layer .* of two feature maps"),
        (lambda x: ops.add(x, make_constant(1, 8, HEIGHT // 4, 1)), "with a constant of shape"),
        (lambda x: ops.transpose(x, [0, 1, 3, 2]), "from NCHW to NCWH is not supported"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, inside: Block, message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        openvino_ir.load(save(build_model([1, 3, HEIGHT, WIDTH], inside=inside), tmp_path))
    assert "\n" not in str(error.value)


def test_images_that_are_no_color_images_are_named(tmp_path: Path) -> None:
    model = build_model([1, 1, HEIGHT, WIDTH], before=lambda x: ops.concat([x, x, x], 1))
    with pytest.raises(ModelError, match="expected three color channels"):
        openvino_ir.load(save(model, tmp_path))
    model = build_model([1, 3, -1, -1], before=lambda x: ops.interpolate(x, [64, 96], "linear", "sizes", axes=[2, 3]))
    with pytest.raises(ModelError, match="edgepose resizes images itself"):
        openvino_ir.load(save(model, tmp_path))


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = save(
        build_model([1, 3, HEIGHT, WIDTH], inside=INSIDE["Interpolate to the size of a map"]), tmp_path, fp16=True
    )
    text = path.read_text()
    rng = np.random.default_rng(0)
    for _ in range(60):
        lines = text.splitlines()
        for place in rng.integers(0, len(lines), 2):
            digits = [i for i, character in enumerate(lines[place]) if character.isdigit()]
            if digits:
                i = int(rng.choice(digits))
                lines[place] = f"{lines[place][:i]}{rng.integers(10**6)}{lines[place][i + 1 :]}"
        path.write_text("\n".join(lines))
        try:
            openvino_ir.load(path)
        except ModelError as error:
            assert "\n" not in str(error)
    path.write_text(text.replace('element_type="f16"', 'element_type="u4"'))
    with pytest.raises(ModelError, match="has the element type u4, which is not supported; save the network with"):
        openvino_ir.load(path)
