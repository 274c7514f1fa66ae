"""The float graph: importers, and passes that must not change the function."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.importers import frozen_graph
from edgepose.convert.ir import graph as g
from edgepose.convert.ir import macs
from edgepose.convert.ir.output_heads import choose_outputs
from edgepose.runtime.errors import ModelError

from ..conftest import find_test_data, find_weights
from .networks import conv, small_graph, write_frozen_graph

pytestmark = pytest.mark.convert


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (4, 64, 96, 3), np.uint8)


def run_graph(graph: g.Graph, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from edgepose.convert.exporters import tensorflow

    results = tensorflow.run_graph(graph, images.astype(np.float32))
    return results[graph.heatmaps].numpy(), results[graph.pafs].numpy()


def assert_same(first: g.Graph, second: g.Graph, images: np.ndarray, tolerance: float = 1e-4) -> None:
    for a, b in zip(run_graph(first, images), run_graph(second, images), strict=True):
        assert np.abs(a).max() > 0.1
        np.testing.assert_allclose(a, b, atol=tolerance * max(1.0, float(np.abs(a).max())))


def test_folding_changes_nothing_but_the_number_of_operators(images: np.ndarray) -> None:
    from edgepose.convert.passes.fold import fold

    graph = small_graph()
    folded = fold(graph)
    assert_same(graph, folded, images)
    assert list(folded.find_nodes(g.BatchNorm)) == []
    # Not folded: the offset of the input (because of the zero padding) and the normalization after the concat.
    assert [node.name for node in folded.find_nodes(g.Affine)] == ["scaled", "bn3"]
    assert folded.nodes["scaled"].scale.tolist() == [1.0]  # type: ignore[attr-defined]


def test_a_scale_of_the_input_is_folded(images: np.ndarray) -> None:
    from edgepose.convert.passes.fold import fold

    graph = small_graph()
    scaled = graph.nodes["scaled"]
    assert isinstance(scaled, g.Affine)
    graph = graph.substitute({"scaled": replace(scaled, offset=np.zeros(1, np.float32))})
    folded = fold(graph)
    assert "scaled" not in folded.nodes
    assert_same(graph, folded, images)


def test_a_result_that_is_read_twice_is_not_folded(images: np.ndarray) -> None:
    """A convolution whose result is also read without normalization keeps this result."""
    from edgepose.convert.passes.fold import fold

    graph = small_graph()
    nodes = {name: node for name, node in graph.nodes.items() if name != "sum"}
    nodes["sum"] = g.Add(name="sum", inputs=("pw4", "bn5"))
    nodes["bn5"] = replace(graph.nodes["bn3"], name="bn5", inputs=("pw4",))  # type: ignore[type-var]
    order = [*list(nodes)[: list(nodes).index("pw4") + 1], "bn5", "sum", "relu4", "pafs", "heatmaps"]
    graph = g.Graph({name: nodes[name] for name in order}, "heatmaps", "pafs")
    assert_same(graph, fold(graph), images)


def test_rgb_reorders_the_weights_of_the_first_layer(images: np.ndarray) -> None:
    from edgepose.convert.passes.fold import fold, to_rgb

    folded = fold(small_graph())
    swapped = to_rgb(folded)
    assert len(swapped.nodes) == len(folded.nodes)
    for a, b in zip(run_graph(folded, images), run_graph(swapped, images[..., ::-1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_statistics_are_those_of_all_images_together(images: np.ndarray) -> None:
    """First layer: mean and variance over all pixels of all images, in one batch or in several."""
    from edgepose.convert.exporters import tensorflow
    from edgepose.convert.passes import bn_statistics

    graph = small_graph(training=True)
    assert [layer.name for layer in bn_statistics.find_training_layers(graph)] == ["bn1", "bn3"]
    spread = (images * np.array([0.2, 0.5, 1, 0.1]).reshape(4, 1, 1, 1)).astype(np.uint8)
    first = tensorflow.run_graph(graph, spread.astype(np.float32), ["conv1"])["conv1"].numpy()
    for batches in ([spread], [spread[:3], spread[3:]]):
        fixed = bn_statistics.set_measured_statistics(graph, batches)
        norm = fixed.nodes["bn1"]
        assert isinstance(norm, g.BatchNorm)
        assert norm.mean is not None
        assert norm.variance is not None
        np.testing.assert_allclose(norm.mean, first.mean(axis=(0, 1, 2)), atol=1e-4)
        np.testing.assert_allclose(norm.variance, first.var(axis=(0, 1, 2)), rtol=1e-3)
    mean_of_variances = first.var(axis=(1, 2)).mean(axis=0)
    assert (norm.variance > 1.05 * mean_of_variances).any()  # the variance between images is included
    assert_same(graph, bn_statistics.set_measured_statistics(graph, [spread]), spread, 1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_a_frozen_graph_is_read_back(tmp_path: Path, images: np.ndarray, training: bool) -> None:
    from edgepose.convert.importers import frozen_graph

    graph = small_graph(training=training)
    plain = conv("dilated", "bn3", (3, 3, 24, 1), depthwise=True, dilations=(2, 2))
    graph = graph.substitute({"dilated": plain})
    write_frozen_graph(graph, tmp_path / "net.pb")
    read = frozen_graph.load(tmp_path / "net.pb")
    assert (read.heatmaps, read.pafs) == ("heatmaps", "pafs")
    assert_same(graph, read, images)
    assert read.parameters == graph.parameters


def test_outputs_can_be_named(tmp_path: Path) -> None:
    from edgepose.convert.importers import frozen_graph

    write_frozen_graph(small_graph(), tmp_path / "net.pb")
    read = frozen_graph.load(tmp_path / "net.pb", heatmaps="heatmaps:0", pafs="pafs")
    assert (read.heatmaps, read.pafs) == ("heatmaps", "pafs")
    for wrong, message in ((("pafs", "heatmaps"), "expected 19 channels"), (("x", "pafs"), "no operator 'x'")):
        with pytest.raises(ModelError, match=message):
            frozen_graph.load(tmp_path / "net.pb", heatmaps=wrong[0], pafs=wrong[1])


def make_nodes(*channels: int) -> tuple[dict[str, g.Node], list[str]]:
    nodes: dict[str, g.Node] = {"image": g.Input(name="image")}
    for number, count in enumerate(channels):
        nodes[f"out{number}"] = conv(f"out{number}", "image", (1, 1, 3, count))
    return nodes, [f"out{number}" for number in range(len(channels))]


def test_outputs_are_found_by_their_channels() -> None:
    assert choose_outputs("f", *make_nodes(38, 19, 5), None, None).heatmaps == "out1"
    split = choose_outputs("f", *make_nodes(57), None, None)
    assert [type(split.nodes[name]) for name in (split.heatmaps, split.pafs)] == [g.Slice, g.Slice]
    assert g.count_channels(split)[split.heatmaps] == 19
    for channels in ((19, 19, 38), (19,), (), (56,)):
        with pytest.raises(ModelError, match="Name them with --heatmaps and --pafs"):
            choose_outputs("f", *make_nodes(*channels), None, None)


def test_unused_branches_are_removed() -> None:
    nodes, results = make_nodes(38, 19, 500)
    assert list(choose_outputs("f", nodes, results, None, None).nodes) == ["image", "out0", "out1"]


def test_macs_and_sizes_match_tensorflow(images: np.ndarray) -> None:

    from edgepose.convert.exporters import tensorflow

    graph = small_graph()
    for height, width in ((64, 96), (72, 40)):
        shapes = {}
        image = np.zeros((1, height, width, 3), np.float32)
        tensorflow.run_graph(graph, image, observe=lambda node, value: shapes.update({node.name: value.shape}))  # noqa: B023
        known = macs.compute_sizes(graph, height, width)
        assert {name: tuple(shape[1:3]) for name, shape in shapes.items()} == known
        channels = g.count_channels(graph)
        assert {name: shape[3] for name, shape in shapes.items()} == channels
    assert macs.count(graph, 64, 96) == sum(
        known_size[0] * known_size[1] * node.kernel.size
        for node in graph.find_nodes(g.Conv)
        if isinstance(node, g.Conv)
        for known_size in [macs.compute_sizes(graph, 64, 96)[node.name]]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"hello", "not a TensorFlow frozen graph"), (b"\x00" * 100, "not a TensorFlow frozen graph")],
)
def test_files_that_are_no_frozen_graph_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    from edgepose.convert.importers import frozen_graph

    (tmp_path / "net.pb").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        frozen_graph.load(tmp_path / "net.pb")


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    from edgepose.convert.importers import frozen_graph

    with tf.compat.v1.Graph().as_default() as scope:
        image = tf.compat.v1.placeholder("float32", (None, None, None, 3), name="image")
        tf.compat.v1.nn.lrn(image, name="strange")
        (tmp_path / "net.pb").write_bytes(scope.as_graph_def().SerializeToString())
    with pytest.raises(ModelError, match="operator LRN of node 'strange' is not supported"):
        frozen_graph.load(tmp_path / "net.pb")


def test_damaged_frozen_graphs_are_one_line(tmp_path: Path, rng: np.random.Generator) -> None:
    from edgepose.convert.importers import frozen_graph

    write_frozen_graph(small_graph(), tmp_path / "net.pb")
    whole = (tmp_path / "net.pb").read_bytes()
    for _ in range(150):
        damaged = bytearray(whole[: int(rng.integers(1, len(whole) + 1))])
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = int(rng.integers(256))
        (tmp_path / "net.pb").write_bytes(damaged)
        try:
            frozen_graph.load(tmp_path / "net.pb")
        except ModelError as error:
            assert "\n" not in str(error)


def test_damaged_openvino_networks_are_one_line(tmp_path: Path, rng: np.random.Generator) -> None:
    from edgepose.convert.importers import openvino_ir

    source = find_weights("human-pose-estimation-0001")
    text, binary = source.read_text(), source.with_suffix(".bin").read_bytes()
    place = tmp_path / "net.xml"
    with pytest.raises(ModelError, match=r"expected net\.bin"):
        openvino_ir.load(place)
    (tmp_path / "net.bin").write_bytes(binary[:-5000])
    place.write_text(text)
    with pytest.raises(ModelError, match="truncated"):
        openvino_ir.load(place)
    (tmp_path / "net.bin").write_bytes(binary)
    changes = [(text[: len(text) // 2], "not a readable"), ("<a/>", "expected an OpenVINO IR"), ("", "not a readable"),
               (text.replace('type="Elu"', 'type="Selu"', 1), "type Selu of layer"),
               (text.replace('shape="32,3,3,3"', 'shape="32,3,3,4"', 1), "damaged"),
               (text.replace("<edges>", "<edges><edge/>"), "damaged")]  # fmt: skip
    for changed, message in changes:
        place.write_text(changed)
        with pytest.raises(ModelError, match=message):
            openvino_ir.load(place)
    characters = list(text)
    for _ in range(6):
        damaged = characters.copy()
        for spot in rng.integers(0, len(text), 20):
            damaged[spot] = chr(int(rng.integers(32, 127)))
        place.write_text("".join(damaged))
        try:
            openvino_ir.load(place)
        except ModelError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["human-pose-estimation-0001", "mobilenet_v2_small"])
def test_real_networks_reproduce_their_own_outputs(name: str) -> None:
    """The expected heatmaps and PAFs are outputs of the published files, stored as float16."""
    from edgepose.convert.importers import detect

    graph = detect.find_source(str(find_weights(name))).load(detect.ImportOptions()).graph
    for path in sorted((find_test_data("golden") / name).glob("*.npz"))[:2]:
        golden: Any = np.load(path)
        heatmaps, pafs = run_graph(graph, golden["input_bgr"][None])
        np.testing.assert_allclose(heatmaps[0], golden["heatmaps"], atol=1e-3)
        np.testing.assert_allclose(pafs[0], golden["pafs"], atol=1e-3)


def test_two_paddings_in_a_row_are_refused(tmp_path: Path) -> None:
    """The first one was lost."""
    v1 = pytest.importorskip("tensorflow").compat.v1
    with v1.Graph().as_default() as graph:
        image = v1.placeholder("float32", (None, None, None, 3), name="image")
        padded = v1.pad(v1.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]]), [[0, 0], [2, 0], [2, 0], [0, 0]])
        v1.nn.conv2d(padded, np.zeros((3, 3, 3, 57), np.float32), 1, "VALID", name="maps")
        (tmp_path / "net.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(ModelError, match="follows another padding"):
        frozen_graph.load(tmp_path / "net.pb")
