"""TFLite files of other tools: the same images through the original file by hand and through edgepose.

The files are made with TensorFlow's converter, as other people make them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.convert import convert as conversion
from edgepose.convert.importers import detect, tflite
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import ModelError
from edgepose.runtime.model import container, interpreter, isolated_load
from edgepose.runtime.model.interpreter import TensorInfo
from edgepose.runtime.model.isolated_load import NetworkTensors, check_first_load, load_in_child_process
from edgepose.runtime.model.manifest import ModelManifest
from edgepose.runtime.types import Quantization

pytestmark = pytest.mark.convert

WIDTH, HEIGHT = 96, 64
Outputs = Callable[[Any, Any], Any]
"""Output of a network for its heatmaps and PAFs."""


@pytest.fixture(autouse=True)
def no_reference_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the reference poses of the manifest, which take longer than everything else here."""
    monkeypatch.setattr(conversion.self_check, "record", lambda path: None)


def make_kernels() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = ((3, 3, 3, 8), (3, 3, 8, 12), (3, 3, 12, 16), (1, 1, 16, 19), (1, 1, 16, 38))
    return [rng.normal(0, (1 / np.prod(shape[:3])) ** 0.5, shape).astype(np.float32) for shape in shapes]


KERNELS = make_kernels()


def compute_maps(image: Any, factor: float = 1 / 255, offset: float = 0.0) -> tuple[Any, Any]:
    """Compute heatmaps and PAFs, with a background heatmap near 1."""
    import tensorflow as tf

    x = image * factor + offset
    for kernel in KERNELS[:3]:
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME"))
    background = np.zeros(19, np.float32)
    background[18] = 1
    return tf.nn.conv2d(x, KERNELS[3] * 0.1, 1, "SAME") + background, tf.nn.conv2d(x, KERNELS[4] * 0.1, 1, "SAME")


def write_tflite(
    path: Path, network: Callable[[Any], Any], shape: list[int | None], options: Callable[[Any], None] | None = None
) -> bytes:
    """Write a network as a TFLite file."""
    import tensorflow as tf

    function = tf.function(network, input_signature=[tf.TensorSpec(shape, tf.float32, name="image")], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    if options is not None:
        options(converter)
    content: bytes = converter.convert()
    path.write_bytes(content)
    return content


def quantize(input_type: str, output_type: str, low: float, high: float) -> Callable[[Any], None]:
    """Return the options for full quantization, for images from `low` to `high`."""

    def set_options(converter: Any) -> None:
        import tensorflow as tf

        def generate() -> Any:
            rng = np.random.default_rng(1)
            for _ in range(3):
                image = rng.uniform(low, high, (1, HEIGHT, WIDTH, 3)).astype(np.float32)
                image[0, 0, 0], image[0, 0, 1] = low, high
                yield [image]

        sets = tf.lite.OpsSet
        is_wide = input_type == "int16"
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = generate
        converter.target_spec.supported_ops = [
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 if is_wide else sets.TFLITE_BUILTINS_INT8
        ]
        converter.inference_input_type = tf.as_dtype(input_type)
        converter.inference_output_type = tf.as_dtype(output_type)

    return set_options


def name_outputs(heatmaps: Any, pafs: Any) -> dict[str, Any]:
    return {"h": heatmaps, "p": pafs}


def convert(path: Path, **options: Any) -> tuple[Path, ModelManifest]:
    out = path.with_name("out.tflite")
    notes: list[str] = []
    result = conversion.convert(
        detect.find_source(str(path)), out, conversion.ConversionOptions(**options), notes.append
    )
    return out, result.manifest


def run_by_hand(content: bytes, pixels: np.ndarray, manifest: ModelManifest) -> list[np.ndarray]:
    """Run the original file as its author would: scale, quantize, transpose and repeat the image."""
    network = interpreter.choose_interpreter()[1](model_content=content, num_threads=1)
    info = network.get_input_details()[0]
    low, high = manifest.input.value_range
    values = pixels[None].astype(np.float32) * ((high - low) / 255) + low
    scale, zero_point = info["quantization"]
    if scale:
        limits = np.iinfo(info["dtype"])
        values = np.clip(np.round(values.astype(np.float64) / scale) + zero_point, limits.min, limits.max)
        shifted = pixels[None].astype(np.float64) + limits.min
        values = shifted if np.abs(values - shifted).max() <= 1 else values
    if info["shape_signature"][1] == 3:
        values = values.transpose(0, 3, 1, 2)
    batch = max(1, int(info["shape_signature"][0]))
    if -1 in info["shape_signature"]:
        network.resize_tensor_input(info["index"], values.shape)
    network.allocate_tensors()
    network.set_tensor(info["index"], np.repeat(values, batch, 0).astype(info["dtype"]))
    network.invoke()
    maps = []
    for spec in (manifest.heatmaps, manifest.pafs):
        details = next(one for one in network.get_output_details() if one["name"] == spec.tensor)
        stored = network.get_tensor(details["index"])[0].astype(np.float32)
        stored = stored.transpose(1, 2, 0) if spec.layout == "nchw" else stored
        scale, zero_point = details["quantization"]
        maps.append((stored - zero_point) * np.float32(scale or 1) if scale else stored)
        maps[-1] = maps[-1][..., spec.start : spec.stop]
    return maps


def assert_same_maps(out: Path, content: bytes, manifest: ModelManifest) -> list[np.ndarray]:
    """Compare with the original file run by hand, and the two halves of a `Pipeline` with `infer`."""
    spec = manifest.input
    image = np.random.default_rng(3).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    expected = run_by_hand(content, image, manifest)
    estimator = PoseEstimator(out, threads=1)
    fields = estimator.infer(image)
    found = [np.array(fields.heatmaps, np.float32), np.array(fields.pafs, np.float32)]
    scales = fields.heatmap_quantization, fields.paf_quantization
    del fields
    buffer = estimator.create_input_buffer()
    estimator.prepare(image, into=buffer)
    again = estimator.infer_prepared(buffer)
    np.testing.assert_array_equal(np.array(again.heatmaps, np.float32), found[0])
    del again
    estimator.estimate(image)
    for values, (scale, zero_point), truth in zip(found, scales, expected, strict=True):
        assert np.ptp(truth) > 0.05
        np.testing.assert_allclose((values - zero_point) * np.float32(scale), truth, atol=1e-6)
    return found


CASES: dict[str, tuple[list[int | None], Callable[[Any], Any], dict[str, Any]]] = {
    "plain": ([1, HEIGHT, WIDTH, 3], lambda x: name_outputs(*compute_maps(x)), {}),
    "other order of outputs": ([1, HEIGHT, WIDTH, 3], lambda x: name_outputs(*compute_maps(x)[::-1]), {}),
    "any size": ([1, None, None, 3], lambda x: name_outputs(*compute_maps(x)), {"dynamic": True}),
    "any size and batch": ([None, None, None, 3], lambda x: name_outputs(*compute_maps(x)), {"dynamic": True}),
    "any height": ([1, None, WIDTH, 3], lambda x: name_outputs(*compute_maps(x)), {"dynamic": True}),
    "any batch": ([None, HEIGHT, WIDTH, 3], lambda x: name_outputs(*compute_maps(x)), {}),
    "batch of 4": ([4, HEIGHT, WIDTH, 3], lambda x: name_outputs(*compute_maps(x)), {"dynamic": True}),
    "channels first": ([1, 3, HEIGHT, WIDTH], lambda x: name_outputs(*compute_maps(_to_last(x))), {"layout": "nchw"}),
    "channels first, batch of 2": (
        [2, 3, HEIGHT, WIDTH],
        lambda x: name_outputs(*map(_to_first, compute_maps(_to_last(x)))),
        {"layout": "nchw", "dynamic": True},
    ),
    "channels first, any size": (
        [1, 3, None, None],
        lambda x: _to_first(_join(*compute_maps(_to_last(x)))),
        {"layout": "nchw", "dynamic": True},
    ),
    "outputs with channels first": (
        [1, HEIGHT, WIDTH, 3],
        lambda x: name_outputs(*map(_to_first, compute_maps(x))),
        {},
    ),
    "one output": ([1, HEIGHT, WIDTH, 3], lambda x: _join(*compute_maps(x)), {}),
    "one output, PAFs first": ([1, HEIGHT, WIDTH, 3], lambda x: _join(*compute_maps(x)[::-1]), {}),
    "one output, PAFs first, channels first": (
        [1, HEIGHT, WIDTH, 3],
        lambda x: _to_first(_join(*compute_maps(x)[::-1])),
        {},
    ),
}


def _to_first(maps: Any) -> Any:
    import tensorflow as tf

    return tf.transpose(maps, [0, 3, 1, 2])


def _to_last(image: Any) -> Any:
    import tensorflow as tf

    return tf.transpose(image, [0, 2, 3, 1])


def _join(*maps: Any) -> Any:
    import tensorflow as tf

    return tf.concat(maps, -1)


@pytest.mark.parametrize("name", CASES)
def test_the_maps_are_those_of_the_original_file(tmp_path: Path, name: str) -> None:
    shape, network, expected = CASES[name]
    content = write_tflite(tmp_path / "net.tflite", network, shape)
    is_open = None in (shape[1:3] if shape[3] == 3 else shape[2:])
    out, manifest = convert(tmp_path / "net.tflite", input_size=(WIDTH, HEIGHT) if is_open else None)
    found = {key: getattr(manifest.input, key) for key in ("layout", "dynamic")}
    assert found == {"layout": "nhwc", "dynamic": False} | expected
    assert (manifest.input.width, manifest.input.height, manifest.stride) == (WIDTH, HEIGHT, 8)
    assert container.read(out).flatbuffer_sha256 == container.compute_identity(content)[0]
    heatmaps, _ = assert_same_maps(out, content, manifest)
    assert heatmaps[..., 18].mean() > 0.5 > heatmaps[..., :18].mean()


@pytest.mark.parametrize(
    ("input_type", "output_type", "value_range"),
    [
        ("int8", "int8", (0.0, 255.0)), ("int8", "float32", (0.0, 1.0)), ("int8", "uint8", (-1.0, 1.0)),
        ("uint8", "int8", (-1.0, 1.0)), ("uint8", "uint8", (0.0, 255.0)), ("int16", "int16", (0.0, 255.0)),
        ("int8", "int8", (-0.5, 0.5)), ("uint8", "float32", (0.0, 250.0)), ("int8", "int8", (-2.1, 2.6)),
    ],
)  # fmt: skip
def test_quantized_inputs_get_the_values_that_the_network_expects(
    tmp_path: Path, input_type: str, output_type: str, value_range: tuple[float, float]
) -> None:
    low, high = value_range
    content = write_tflite(
        tmp_path / "net.tflite",
        lambda x: name_outputs(*compute_maps(x, 1 / (high - low), -low / (high - low))),
        [1, HEIGHT, WIDTH, 3],
        quantize(input_type, output_type, low, high),
    )
    out, manifest = convert(tmp_path / "net.tflite")
    assert manifest.input.dtype == input_type
    expected = (0.0, 255.0) if value_range == (0.0, 250.0) else value_range
    assert manifest.input.value_range == pytest.approx(expected, abs=0.02)
    assert_same_maps(out, content, manifest)
    # uint8 tensors whose range is that of the image take its bytes.
    assert manifest.input.quantized == (input_type != "uint8" or value_range == (0.0, 250.0))


def test_images_become_exactly_the_tensor(tmp_path: Path) -> None:
    write_tflite(
        tmp_path / "net.tflite", lambda x: name_outputs(*compute_maps(x)), [1, HEIGHT, WIDTH, 3],
        quantize("int8", "int8", 0, 255),
    )  # fmt: skip
    out, _ = convert(tmp_path / "net.tflite")
    estimator = PoseEstimator(out)
    buffer = estimator.create_input_buffer()
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    estimator.prepare(image, into=buffer)
    np.testing.assert_array_equal(buffer, image.astype(np.int16) - 128)
    estimator.prepare(image[:, : WIDTH // 2].copy(), into=buffer)  # half the width: the rest is black
    assert (buffer[:, WIDTH // 2 :] == -128).all()


def test_the_background_settles_the_order_if_there_is_no_concatenation(tmp_path: Path) -> None:
    import tensorflow as tf

    kernel = np.concatenate([KERNELS[4], KERNELS[3]], -1) * 0.1
    bias = np.zeros(57, np.float32)
    bias[56] = 1

    def network(x: Any) -> Any:
        for weights in KERNELS[:3]:
            x = tf.nn.relu(tf.nn.conv2d(x / 8, weights, 2, "SAME"))
        return tf.nn.conv2d(x, kernel, 1, "SAME") + bias

    content = write_tflite(tmp_path / "net.tflite", network, [1, HEIGHT, WIDTH, 3])
    out, manifest = convert(tmp_path / "net.tflite")
    assert (manifest.pafs.start, manifest.heatmaps.start) == (0, 38)
    assert_same_maps(out, content, manifest)
    assert "the output has the PAFs first, then the heatmaps" in manifest.recipe


def test_the_last_of_several_stages_is_used(tmp_path: Path) -> None:
    import tensorflow as tf

    def network(x: Any) -> Any:
        heatmaps, pafs = compute_maps(x)
        joined = tf.concat([heatmaps, pafs], -1)
        kernels = np.random.default_rng(0).normal(0, 0.1, (2, 1, 1, 57, 38)).astype(np.float32)
        last = [tf.nn.conv2d(joined, kernels[0, ..., :19], 1, "SAME"), tf.nn.conv2d(joined, kernels[1], 1, "SAME")]
        return {"a": heatmaps, "b": last[1], "c": pafs, "d": last[0]}

    content = write_tflite(tmp_path / "net.tflite", network, [1, HEIGHT, WIDTH, 3])
    out, manifest = convert(tmp_path / "net.tflite")
    assert [manifest.heatmaps.tensor[-1], manifest.pafs.tensor[-1]] == ["3", "1"]
    first = {"heatmaps": f"{manifest.heatmaps.tensor[:-1]}0", "pafs": f"{manifest.heatmaps.tensor[:-1]}2"}
    out, named = convert(tmp_path / "net.tflite", **first)
    assert (named.heatmaps.tensor, named.pafs.tensor) == tuple(first.values())
    assert_same_maps(out, content, named)


def test_half_precision_weights(tmp_path: Path) -> None:
    def set_options(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    content = write_tflite(
        tmp_path / "net.tflite", lambda x: name_outputs(*compute_maps(x)), [1, None, None, 3], set_options
    )
    out, manifest = convert(tmp_path / "net.tflite", input_size=(WIDTH, HEIGHT))
    assert_same_maps(out, content, manifest)


def test_an_open_size_has_a_default_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    write_tflite(path, lambda x: name_outputs(*compute_maps(x)), [1, None, None, 3])
    _, manifest = convert(path)
    assert (manifest.input.width, manifest.input.height) == (432, 368)
    assert "the interpreter is resized to one image of 432x368" in manifest.recipe
    with pytest.raises(ModelError, match="input size 100x64: expected multiples of 8 from 64 to 4096"):
        convert(path, input_size=(100, 64))
    write_tflite(path, lambda x: name_outputs(*compute_maps(x)), [1, None, WIDTH, 3])
    with pytest.raises(ModelError, match=f"keeps its input width, {WIDTH}, and 104x64 was asked for"):
        convert(path, input_size=(104, 64))


def test_a_model_without_its_size_in_the_file_is_checked_at_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tflite(tmp_path / "net.tflite", lambda x: name_outputs(*compute_maps(x)), [1, None, None, 3])
    sizes = []
    original = isolated_load.load_in_child_process

    def load(*arguments: Any, **options: Any) -> NetworkTensors:
        sizes.append(options["size"])
        return original(*arguments, **options)

    models = []
    for size in ((WIDTH, HEIGHT), (128, 96)):
        out, _ = convert(tmp_path / "net.tflite", input_size=size)
        models.append(out.rename(tmp_path / f"{size[0]}.tflite"))
    monkeypatch.setattr(isolated_load, "load_in_child_process", load)
    for model in (*models, *models):
        check_first_load(model)
    assert sizes == [(WIDTH, HEIGHT), (128, 96)]


def _sum_batch(image: Any) -> Any:
    import tensorflow as tf

    return image + 0.1 * tf.reduce_sum(image, 0, keepdims=True)


def _stack_images(images: Any) -> dict[str, Any]:
    """Compute the maps of two images as those of one image of twice the height."""
    import tensorflow as tf

    maps = compute_maps(tf.reshape(images, [1, 2 * HEIGHT, WIDTH, 3]))
    return name_outputs(*(tf.reshape(one, [2, HEIGHT // 8, WIDTH // 8, one.shape[3]]) for one in maps))


@pytest.mark.parametrize(
    ("shape", "network", "message"),
    [
        (
            [4, HEIGHT, WIDTH, 3],
            lambda x: name_outputs(*compute_maps(x + 0.5 * x[::-1])),
            "computes other values for one",
        ),
        ([4, HEIGHT, WIDTH, 3], lambda x: name_outputs(*compute_maps(_sum_batch(x))), "computes other values for one"),
        ([2, HEIGHT, WIDTH, 3], _stack_images, "reads 2 images at once and does not work with one image of 96x64"),
        ([1, HEIGHT, WIDTH, 1], lambda x: name_outputs(*compute_maps(_join(x, x, x))), "three color channels, got"),
        ([1, HEIGHT, WIDTH, 4], lambda x: name_outputs(*compute_maps(x[..., :3])), "expected an input (1, height, "),
        ([HEIGHT, WIDTH, 3], lambda x: name_outputs(*compute_maps(x[None])), "expected an input (1, height, width, 3)"),
        ([1, HEIGHT, WIDTH, 3], lambda x: name_outputs(*compute_maps(x[:, :, 8:])), "heatmaps of 11x8 cells do not"),
    ],
)
def test_networks_that_cannot_be_used_say_why(
    tmp_path: Path, shape: list[int | None], network: Callable[[Any], Any], message: str
) -> None:
    write_tflite(tmp_path / "net.tflite", network, shape)
    with pytest.raises(ModelError) as error:
        convert(tmp_path / "net.tflite")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.tflite").exists()


def make_tensors(**changes: Any) -> NetworkTensors:
    image = TensorInfo("image", 0, (1, HEIGHT, WIDTH, 3), "float32", Quantization())
    outputs = [
        TensorInfo(f"out{count}", count, (1, HEIGHT // 8, WIDTH // 8, count), "float32", Quantization())
        for count in (19, 38)
    ]
    return NetworkTensors((image._replace(**changes),), tuple(outputs))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int32"}, "expected an input of float32, uint8, int8, int16, got .* of int32"),
        ({"dtype": "int8"}, "the input of int8 has no scale and zero point"),
        ({"shape": (1, 9000, WIDTH, 3)}, "expected an input of 1 to 8192 pixels"),
        ({"shape": (3, HEIGHT, WIDTH, 3)}, "one image per inference"),
    ],
)
def test_wrong_inputs_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tflite.read_input_spec(Path("f"), make_tensors(**changes), None, "bgr", "letterbox")


def test_integer_outputs_need_a_scale() -> None:
    tensors = make_tensors()
    outputs = tuple(info._replace(dtype="int8") for info in tensors.outputs)
    with pytest.raises(ModelError, match="output 'out19' of int8 has no scale and zero point"):
        tflite.find_outputs(Path("f"), replace(tensors, outputs=outputs), None, None)


def test_a_value_range_per_channel(tmp_path: Path) -> None:
    """Mean and standard deviation of each channel, as PyTorch's networks expect them."""
    content = write_tflite(
        tmp_path / "net.tflite",
        lambda x: name_outputs(*compute_maps(x)),
        [1, HEIGHT, WIDTH, 3],
    )
    tensors = load_in_child_process(tmp_path / "net.tflite")
    ranges = ((-2.1, 2.2), (-2.0, 2.4), (-1.8, 2.6))
    spec = tflite.read_input_spec(tmp_path / "net.tflite", tensors, None, "rgb", "stretch", ranges)
    assert spec.channel_ranges == ranges
    out, manifest = convert(tmp_path / "net.tflite")
    container.write(out, content, replace(manifest, input=spec))
    estimator = PoseEstimator(out)
    buffer = estimator.create_input_buffer()
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    estimator.prepare(image, "rgb", buffer)
    low, high = np.array(ranges, np.float32).T
    np.testing.assert_allclose(buffer, low + image * (high - low) / 255, atol=1e-6)
    estimator.prepare(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), "bgr", buffer)
    np.testing.assert_allclose(buffer, low + image * (high - low) / 255, atol=1e-6)
