"""Frozen graphs as other people write them: layouts, normalization, activations, and operators behind the outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.importers import frozen_graph
from edgepose.convert.ir import graph as g
from edgepose.convert.passes.fold import fold
from edgepose.convert.passes.simplify import simplify
from edgepose.runtime.errors import ModelError

pytestmark = pytest.mark.convert

SIZE = (64, 96)
RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Give each test the same random numbers, whatever tests run before it."""
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state


def kernel(*shape: int) -> np.ndarray:
    return RNG.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape).astype(np.float32)


class Builder:
    """TensorFlow 1 graph of a small network with the outputs `heatmaps` and `pafs`."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self.tf, self.v1 = tf, tf.compat.v1
        self.folder, self.layout = folder, "NHWC"

    def image(self, shape: Any = (None, None, None, 3), dtype: str = "float32") -> Any:
        return self.v1.placeholder(dtype, shape, name="image")

    def conv(self, x: Any, channels: int, size: int = 1, stride: int = 1, name: str | None = None) -> Any:
        inside = 3 if x.shape.rank is None else x.shape[3 if self.layout == "NHWC" else 1]
        strides = [1, stride, stride, 1] if self.layout == "NHWC" else [1, 1, stride, stride]
        kernels = kernel(size, size, inside, channels)
        return self.v1.nn.conv2d(x, kernels, strides, "SAME", data_format=self.layout, name=name)

    def body(self, x: Any, activate: Callable[[Any], Any] | None = None) -> Any:
        for channels in (8, 12):
            x = (activate or self.v1.nn.relu)(self.conv(x, channels, 3, 2))
        return x

    def heads(self, x: Any) -> tuple[Any, Any]:
        return self.conv(x, 19, name="heatmaps"), self.conv(x, 38, name="pafs")


Build = Callable[[Builder], Any]


def write(build: Build, folder: Path) -> tuple[Path, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Write a graph. Return its path, and a function that computes its `heatmaps` and `pafs` with TensorFlow."""
    builder = Builder(folder)
    v1 = builder.v1
    scope = v1.Graph()
    with scope.as_default():
        build(builder)
    path = folder / "net.pb"
    path.write_bytes(scope.as_graph_def().SerializeToString())

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        source = scope.get_tensor_by_name("image:0")
        is_nchw = builder.layout == "NCHW" and (source.shape.rank is None or source.shape[1] == 3)
        fed = image.transpose(0, 3, 1, 2) if is_nchw else image
        with v1.Session(graph=scope) as session:
            maps = session.run(["heatmaps:0", "pafs:0"], {source: fed.astype(source.dtype.as_numpy_dtype)})
        heatmaps, pafs = (m.transpose(0, 2, 3, 1) if builder.layout == "NCHW" else m for m in maps)
        return heatmaps, pafs

    return path, run


def run_graph(graph: g.Graph, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from edgepose.convert.exporters import tensorflow

    results = tensorflow.run_graph(graph, image.astype(np.float32))
    return np.asarray(results[graph.heatmaps]), np.asarray(results[graph.pafs])


def check_same_maps(build: Build, folder: Path) -> g.Graph:
    """Import a graph and compare it, and its folded form, with TensorFlow. Return the folded graph."""
    path, run = write(build, folder)
    graph = frozen_graph.load(path)
    folded = simplify(fold(graph))
    image = RNG.integers(0, 256, (1, *SIZE, 3)).astype(np.float32)
    expected = run(image)
    for candidate in (graph, folded):
        for a, b in zip(run_graph(candidate, image), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(b).max()))
    return folded


def use_nchw(b: Builder, shape: Any = (None, 3, None, None)) -> Any:
    b.layout = "NCHW"
    return b.image(shape)


def preprocess_like_vgg(b: Builder) -> Any:
    blue, green, red = b.tf.split(b.image(), 3, 3)
    return b.heads(b.body(b.tf.concat([red - 123.7, green - 116.3, blue - 103.5], 3)))


def normalize_batch(b: Builder) -> Any:
    rows = [np.array(row, np.float32) for row in ([0.1] * 3, [0.3] * 3, [100, 110, 120], [2500, 3000, 4000])]
    return b.heads(b.body(b.v1.nn.fused_batch_norm(b.image(), *rows, is_training=False)[0]))


MEAN = np.array([103.5, 116.3, 123.7], np.float32)
INPUTS: dict[str, Build] = {
    "value range": lambda b: b.heads(b.body(b.image() * (1 / 127.5) - 1.0)),
    "inverted": lambda b: b.heads(b.body(1.0 - b.image() / 255.0)),
    "mean and scale": lambda b: b.heads(b.body((b.image() - MEAN) / np.array([57, 58, 59], np.float32))),
    "NCHW mean": lambda b: b.heads(b.body(use_nchw(b) - MEAN.reshape(1, 3, 1, 1))),
    "RGB slice": lambda b: b.heads(b.body(b.image()[..., ::-1] / 255.0 - 0.5)),
    "RGB reverse": lambda b: b.heads(b.body(b.tf.reverse(b.image(), [-1]))),
    "RGB gather": lambda b: b.heads(b.body(b.tf.gather(b.image() - MEAN, [2, 1, 0], axis=3))),
    "RGB split": preprocess_like_vgg,
    "uint8": lambda b: b.heads(b.body(b.tf.cast(b.image(dtype="uint8"), "float32") / 255.0)),
    "batch normalization": normalize_batch,
}


@pytest.mark.parametrize("name", INPUTS)
def test_normalization_of_the_image_is_imported_exactly(name: str, tmp_path: Path) -> None:
    folded = check_same_maps(INPUTS[name], tmp_path)
    # At most one offset is left in front of the two convolutions and the two outputs.
    assert len(list(folded.find_nodes(g.Conv))) == 4
    assert len(list(folded.find_nodes(g.Affine))) <= 1


def transpose_around(b: Builder) -> Any:
    b.layout = "NCHW"
    x = b.v1.transpose(b.v1.placeholder("float32", (None, None, None, 3), name="image"), [0, 3, 1, 2])
    return b.heads(b.body(x))


def normalize_unfused(b: Builder) -> Any:
    def activate(x: Any) -> Any:
        rows = [b.tf.constant(RNG.uniform(0.5, 1.5, x.shape[-1]).astype(np.float32)) for _ in range(4)]
        return b.tf.nn.relu(b.tf.nn.batch_normalization(x, *rows, 1e-3))

    return b.heads(b.body(b.image(), activate))


def reshape_without_effect(b: Builder) -> Any:
    x = b.body(b.image((1, *SIZE, 3)))
    x = b.v1.squeeze(b.v1.expand_dims(b.v1.reshape(x, [-1, 16, 24, 12]), 0), [0])
    return b.heads(b.v1.identity(x))


def resize(method: str, **options: Any) -> Build:
    def build(b: Builder) -> Any:
        x = b.body(b.image())
        function = getattr(b.v1.image, method)
        return b.heads(function(x, b.v1.shape(x)[1:3] * 2, **options))

    return build


def use_flags(b: Builder) -> Any:
    b.v1.placeholder("bool", (), name="is_training")
    keep = b.v1.placeholder_with_default(1.0, [], name="keep")
    return b.heads(b.body(b.image()) * keep)


STRUCTURES: dict[str, Build] = {
    "NCHW": lambda b: b.heads(b.body(use_nchw(b))),
    "NCHW without shape": lambda b: b.heads(b.body(use_nchw(b, None))),
    "transposed": transpose_around,
    "unfused normalization": normalize_unfused,
    "reshape": reshape_without_effect,
    "split": lambda b: b.heads(b.tf.concat(b.tf.split(b.body(b.image()), [4, 6, 2], 3)[::-1], 3)),
    "nearest": resize("resize_nearest_neighbor"),
    "repeat": lambda b: b.heads(b.tf.repeat(b.tf.repeat(b.body(b.image()), 2, axis=1), 2, axis=2)),
    "align corners": resize("resize_bilinear", align_corners=True),
    "flags": use_flags,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_are_imported_exactly(name: str, tmp_path: Path) -> None:
    check_same_maps(STRUCTURES[name], tmp_path)


ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "leaky_relu": lambda tf, x: tf.nn.leaky_relu(x, 0.2),
    "leaky_relu as maximum": lambda tf, x: tf.maximum(x, 0.1 * x),
    "prelu": lambda tf, x: tf.nn.relu(x) + np.linspace(-0.5, 0, x.shape[3], dtype=np.float32) * tf.nn.relu(-x),
    "prelu with abs": lambda tf, x: tf.nn.relu(x) + 0.2 * (x - tf.abs(x)) * 0.5,
    "swish": lambda tf, x: tf.nn.silu(x),
    "scaled swish": lambda tf, x: x * tf.sigmoid(1.702 * x),
    "hard_swish": lambda tf, x: x * tf.nn.relu6(x + 3) * 0.16666667,
    "hard_swish as gate": lambda tf, x: x * (tf.nn.relu6(x + 3) / 6),
    "sigmoid": lambda tf, x: tf.sigmoid(x),
    "tanh": lambda tf, x: tf.tanh(x),
    "clip": lambda tf, x: tf.clip_by_value(x, 0, 4),
    "minimum": lambda tf, x: tf.minimum(tf.nn.relu(x), 4.0),
}
KINDS = {"swish": "swish", "hard_swish": "hard_swish", "hard_swish as gate": "hard_swish", "prelu": "prelu",
         "leaky_relu as maximum": "leaky_relu", "clip": "relu6"}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_imported_exactly(name: str, tmp_path: Path) -> None:
    folded = check_same_maps(
        lambda b: b.heads(b.body(b.image() / 50.0, lambda x: ACTIVATIONS[name](b.tf, x))), tmp_path
    )
    if name in KINDS:
        found = [node.kind for node in folded.nodes.values() if isinstance(node, g.Activation)]
        assert found == [KINDS[name]] * 2


def detect_peaks(b: Builder) -> Any:
    heatmaps, _ = b.heads(b.body(b.image()))
    smooth = b.tf.nn.depthwise_conv2d(heatmaps, np.full((5, 5, 19, 1), 0.04, np.float32), [1, 1, 1, 1], "SAME")
    peaks = b.tf.nn.max_pool2d(smooth, 3, 1, "SAME")
    return b.tf.where(b.tf.equal(smooth, peaks), smooth, b.tf.zeros_like(smooth))


def compute_loss(b: Builder) -> Any:
    maps = b.tf.concat(b.heads(b.body(b.image())), 3)
    return b.tf.nn.l2_loss(maps - b.v1.placeholder("float32", (None, None, None, 57), name="labels"))


def stop_at_every_stage(b: Builder) -> Any:
    x = b.body(b.image())
    first = b.conv(x, 19), b.conv(x, 38)
    for maps in first:
        b.v1.identity(maps)
    return b.heads(b.tf.concat([*first, x], 3))


BEHIND: dict[str, Build] = {
    "peaks": detect_peaks,
    "loss": compute_loss,
    "argmax": lambda b: b.tf.argmax(b.heads(b.body(b.image()))[0][..., :18], 3),
    "resize area": lambda b: [b.v1.image.resize_area(m, [64, 96]) for m in b.heads(b.body(b.image()))],
    "stages": stop_at_every_stage,
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_follows_the_outputs_is_ignored(name: str, tmp_path: Path) -> None:
    check_same_maps(BEHIND[name], tmp_path)


def test_ignored_operators_are_named(tmp_path: Path) -> None:
    path, _ = write(BEHIND["resize area"], tmp_path)
    notes: list[str] = []
    frozen_graph.load(path, note=notes.append)
    assert notes == ["ignored behind the outputs: ResizeArea 'ResizeArea', ResizeArea 'ResizeArea_1'"]


def continue_after_gelu(b: Builder) -> Any:
    x = b.body(b.image())
    return b.heads(b.tf.nn.gelu(b.tf.concat([b.conv(x, 19), b.conv(x, 38), x], 3)))


REFUSED: dict[str, tuple[Build, str]] = {
    # The first stage has the right channels too, but it is not the output.
    "gelu": (continue_after_gelu, "operator Erfc of node .* is not supported, part of the activation GELU"),
    "softmax": (lambda b: b.tf.nn.softmax(b.heads(b.body(b.image()))[0]), "operator Softmax"),
    "gray": (lambda b: b.heads(b.body(b.image((None, None, None, 1)))), "expected an image with 3 channels"),
    "crop": (lambda b: b.heads(b.body(b.image()[:, :32])), "cuts rows, columns or images"),
    "mean image": (
        lambda b: b.heads(b.body(b.image((1, *SIZE, 3)) - RNG.normal(0, 1, (*SIZE, 3)).astype(np.float32))),
        "constant of shape .* expected one value, or one per channel",
    ),
    "mirror": (
        lambda b: b.heads(b.body(b.v1.pad(b.image(), [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"))),
        "operator MirrorPad .* reflection",
    ),
    "two images": (
        lambda b: b.heads(b.body(b.image()) + b.body(b.v1.placeholder("float32", (None, None, None, 3), "second"))),
        "expected one image",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_imported_is_named(name: str, tmp_path: Path) -> None:
    build, message = REFUSED[name]
    path, _ = write(build, tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        frozen_graph.load(path)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("pafs_first", [False, True])
def test_the_order_of_a_concatenated_output_is_read_from_the_graph(
    pafs_first: bool, upsample: bool, tmp_path: Path
) -> None:
    def build(b: Builder) -> None:
        maps = [b.v1.identity(m) for m in b.heads(b.body(b.image()))]
        joined = b.tf.concat(maps[::-1] if pafs_first else maps, 3)
        if upsample:
            joined = b.v1.image.resize_bilinear(joined, b.v1.shape(joined)[1:3] * 2)
        b.v1.transpose(b.v1.identity(joined), [0, 3, 1, 2], name="result")

    path, run = write(build, tmp_path)
    image = RNG.integers(0, 256, (1, *SIZE, 3)).astype(np.float32)
    step = 2 if upsample else 1
    # Bilinear resizing without half-pixel centers keeps the original values at every second cell.
    for a, b in zip(run_graph(frozen_graph.load(path), image), run(image), strict=True):
        np.testing.assert_allclose(a[:, ::step, ::step], b, atol=1e-4 * np.abs(b).max())


def test_a_single_image_that_the_graph_resizes_is_imported(tmp_path: Path) -> None:
    """The resize in front is left to edgepose: the network gets the image in this size."""

    def build(b: Builder) -> None:
        image = b.v1.expand_dims(b.v1.placeholder("uint8", (None, None, 3), name="image"), 0)
        b.heads(b.body(b.v1.image.resize_bilinear(image, SIZE) / 255.0))

    path, run = write(build, tmp_path)
    graph = frozen_graph.load(path)
    assert graph.input.size == SIZE
    image = RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    for a, b in zip(run_graph(graph, image[None]), run(image), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


def test_the_size_of_the_file_is_read(tmp_path: Path) -> None:
    path, _ = write(lambda b: b.heads(b.body(b.image((1, 128, 160, 3)))), tmp_path)
    assert frozen_graph.load(path).input.size == (128, 160)
    path, _ = write(lambda b: b.heads(b.body(b.image())), tmp_path)
    assert frozen_graph.load(path).input.size is None
