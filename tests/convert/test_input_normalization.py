"""Options for the input of the source network: value range, mean, scale and channel order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepose.convert.ir import graph as g
from edgepose.convert.passes.fold import fold
from edgepose.convert.passes.input_normalization import InputNormalization, merge_reordering, share_offset
from edgepose.convert.validate.sanity import EstimatorProbe
from edgepose.runtime import PoseEstimator
from edgepose.runtime.cli.main import main
from edgepose.runtime.errors import ModelError

from .networks import conv, norm, small_graph

pytestmark = pytest.mark.convert


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (2, 64, 96, 3)).astype(np.float32)


def run_graph(graph: g.Graph, images: np.ndarray) -> np.ndarray:
    pytest.importorskip("tensorflow", reason="runs graphs")
    from edgepose.convert.exporters import tensorflow

    results = tensorflow.run_graph(graph, images)
    return np.concatenate([np.asarray(results[name]) for name in (graph.heatmaps, graph.pafs)], -1)


def plain_graph(padding: g.Padding = "SAME") -> g.Graph:
    """Return a network that begins with a convolution."""
    nodes = [
        g.Input(name="image"),
        conv("first", "image", (3, 3, 3, 8), strides=(2, 2), padding=padding),
        norm("norm", "first", 8, training=False),
        g.Activation(name="relu", inputs=("norm",), kind="relu"),
        conv("heatmaps", "relu", (1, 1, 8, 19)),
        conv("pafs", "relu", (1, 1, 8, 38)),
    ]
    return g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")


MEAN, SCALE = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
CASES = [
    (InputNormalization(value_range=(-1, 1)), lambda x: x / 127.5 - 1),
    (InputNormalization(value_range=(0, 1), channel_order="rgb"), lambda x: x[..., ::-1] / 255),
    (InputNormalization(mean=MEAN), lambda x: x - np.array(MEAN)),
    (InputNormalization(scale=(255.0,)), lambda x: x / 255),
    (
        InputNormalization(mean=MEAN, scale=SCALE, channel_order="rgb"),
        lambda x: (x[..., ::-1] - np.array(MEAN)) / np.array(SCALE),
    ),
    (InputNormalization(channel_order="bgr"), lambda x: x),
]


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.parametrize("make", [plain_graph, small_graph])
def test_the_normalization_is_applied_exactly(number: int, make: type[g.Graph], images: np.ndarray) -> None:
    normalization, reference = CASES[number]
    graph = make()
    normalized = normalization.apply(graph)
    expected = run_graph(graph, reference(images).astype(np.float32))
    for candidate in (normalized, fold(normalized)):
        np.testing.assert_allclose(run_graph(candidate, images), expected, atol=2e-5 * np.abs(expected).max())
    # Folded, there is at most one offset of the image, and no convolution for the channel order.
    assert len(list(fold(normalized).find_nodes(g.Conv))) == len(list(graph.find_nodes(g.Conv)))


def test_a_channel_order_moves_behind_a_normalization_per_channel(images: np.ndarray) -> None:
    graph = InputNormalization(mean=MEAN, scale=SCALE).apply(plain_graph())
    swapped = InputNormalization(channel_order="rgb").apply(graph)
    merged = merge_reordering(swapped)
    assert len(merged.nodes) == len(graph.nodes)
    expected = run_graph(graph, images[..., ::-1])
    np.testing.assert_allclose(run_graph(merged, images), expected, atol=2e-5 * np.abs(expected).max())


def test_a_shared_offset_changes_only_the_border(images: np.ndarray) -> None:
    """Without padding, one offset for all channels is exact. With padding, cells at the border change a little."""
    normalization = InputNormalization(mean=MEAN, scale=SCALE)
    for padding, border in (("VALID", 0), ("SAME", 1)):
        folded = fold(normalization.apply(plain_graph(padding)))
        shared = share_offset(folded)
        affine = next(node for node in shared.nodes.values() if isinstance(node, g.Affine))
        assert affine.offset.tolist() == [-114.0]
        a, b = run_graph(folded, images), run_graph(shared, images)
        inner = slice(border, -border or None)
        np.testing.assert_allclose(a[:, inner, inner], b[:, inner, inner], atol=2e-5 * np.abs(a).max())
        if border:
            assert 0 < np.abs(a - b).max() < 0.1 * np.abs(a).max()
    assert share_offset(shared) is shared
    assert share_offset(plain_graph()) is not None


@pytest.mark.parametrize(
    ("normalization", "message"),
    [
        (InputNormalization(value_range=(0, 1), mean=(1.0,)), "--value-range cannot be combined"),
        (InputNormalization(value_range=(1, 0)), "LOW smaller than HIGH"),
        (InputNormalization(value_range=(0, float("inf"))), "expected numbers from"),
        (InputNormalization(mean=(1.0, 2.0)), "expected 1 or 3 numbers, got 2"),
        (InputNormalization(scale=(1.0, 0.0, 1.0)), "greater than 0"),
    ],
)
def test_contradictions_are_refused(normalization: InputNormalization, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        normalization.check()


def test_a_tflite_file_gets_the_value_range_in_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rng: np.random.Generator
) -> None:
    pytest.importorskip("tensorflow", reason="writes a TFLite file")
    from edgepose.convert.exporters.tflite import to_tflite
    from edgepose.runtime.model import container

    source = tmp_path / "plain.tflite"
    source.write_bytes(to_tflite(plain_graph(), 96, 64, "float32"))
    command = ["convert", str(source), "-o", str(tmp_path / "out.tflite")]
    assert main([*command, "--mean", "127.5", "--scale", "127.5", "--source-channel-order", "rgb"]) == 0
    spec = container.read(tmp_path / "out.tflite").input
    assert (spec.value_range, spec.channel_order) == ((-1.0, 1.0), "rgb")
    assert main([*command, "--value-range", "0", "1"]) == 0
    assert container.read(tmp_path / "out.tflite").input.value_range == (0.0, 1.0)
    assert main([*command, "--mean", "10,20,30", "--scale", "50", "--channel-order", "rgb"]) == 0
    ranges = np.array(container.read(tmp_path / "out.tflite").input.channel_ranges)
    np.testing.assert_allclose(ranges[:, 0], [-0.2, -0.4, -0.6], atol=1e-6)
    np.testing.assert_allclose(ranges[:, 1], [4.9, 4.7, 4.5], atol=1e-6)
    # The search for the cause of a failure gives the network the same values.
    estimator = PoseEstimator(tmp_path / "out.tflite")
    probe = EstimatorProbe(estimator)
    image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    own = np.array(probe.infer_values(probe.prepare_values(image, "bgr")).heatmaps)
    np.testing.assert_allclose(own, np.array(estimator.infer(image).heatmaps), atol=1e-5 * np.abs(own).max())
    del estimator, probe
    capsys.readouterr()
    for options, message in (
        (["--channel-order", "rgb", "--source-channel-order", "bgr"], "contradict each other"),
        (["--signature", "x"], "--signature cannot be used"),
    ):
        assert main([*command, *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_options_and_the_normalization_of_the_file_are_both_used(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="reads a frozen graph")
    from edgepose.convert.importers import detect

    from .networks import write_frozen_graph

    write_frozen_graph(small_graph(training=False).substitute({"dilated": replace(
        small_graph().nodes["dilated"], padding="SAME")}), tmp_path / "net.pb")  # type: ignore[call-arg]  # fmt: skip
    notes: list[str] = []
    options = detect.ImportOptions(normalization=InputNormalization(value_range=(0, 1)))
    graph = detect.find_source(str(tmp_path / "net.pb")).load(options, notes.append).graph
    assert len([note for note in notes if note.startswith("both are used, one after the other")]) == 1
    assert isinstance(graph.find_consumers("image")[0], g.Affine)
