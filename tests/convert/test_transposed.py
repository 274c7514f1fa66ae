"""Transposed convolutions and products of feature maps, as in the networks of trt_pose, in every exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.convert.exporters import tensorflow
from edgepose.convert.ir import graph as g
from edgepose.convert.quantize.channel_groups import group_channels, scale_channels
from edgepose.runtime.model import container
from edgepose.runtime.model.interpreter import Network
from edgepose.runtime.synthetic import Scene

from ..conftest import call_edgepose
from .networks import relu, small_graph

pytestmark = pytest.mark.convert


def make_image(seed: int) -> np.ndarray:
    return Scene(1 + seed, 96, 64, seed=seed).render_frame(0).image


def conv(name: str, source: str, shape: tuple[int, ...], **options: Any) -> g.Conv:
    """Return a convolution whose weights do not depend on other tests."""
    kernel = np.random.default_rng(sum(name.encode())).normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape)
    return g.Conv(name=name, inputs=(source,), kernel=kernel.astype(np.float32), **options)


@pytest.fixture(scope="module")
def graph() -> g.Graph:
    """Return a network with two enlarged branches and an attention in each."""
    nodes: list[g.Node] = [
        g.Input(name="image"),
        g.Affine(name="scaled", inputs=("image",), scale=np.full(1, 1 / 64, np.float32), offset=np.full(1, -2.0, "f4")),
        conv("conv1", "scaled", (3, 3, 3, 8), strides=(2, 2), padding=((1, 1), (1, 1))),
        relu("relu1", "conv1"),
    ]
    for branch, gate, channels in (("heatmaps", "sigmoid", 19), ("pafs", "tanh", 38)):
        nodes += [
            conv(f"{branch}/blocks", "relu1", (3, 3, 8, 24), bias=np.linspace(-1, 1, 24, dtype=np.float32)),
            relu(f"{branch}/relu", f"{branch}/blocks"),
            g.DepthToSpace(name=f"{branch}/pixels", inputs=(f"{branch}/relu",), block=2),
            conv(f"{branch}/attention", f"{branch}/pixels", (3, 3, 6, 6)),
            relu(f"{branch}/gate", f"{branch}/attention", gate),  # type: ignore[arg-type]
            g.Multiply(name=f"{branch}/product", inputs=(f"{branch}/pixels", f"{branch}/gate")),
            conv(branch, f"{branch}/product", (1, 1, 6, channels)),
        ]
    return g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return make_image(1)[None].astype(np.float32)


def run(graph: g.Graph, image: np.ndarray) -> list[np.ndarray]:
    results = tensorflow.run_graph(graph, image)
    return [results[graph.heatmaps].numpy(), results[graph.pafs].numpy()]


def assert_close(expected: list[np.ndarray], got: list[np.ndarray]) -> None:
    for a, b in zip(expected, got, strict=True):
        assert np.abs(a).max() > 0.1
        np.testing.assert_allclose(a, b, atol=1e-4 * float(np.abs(a).max()))


def test_scaling_of_channels_changes_nothing(graph: g.Graph, image: np.ndarray) -> None:
    groups = group_channels(graph)
    scale = np.where(groups.fixed, 1.0, np.random.default_rng(0).uniform(0.5, 2, len(groups.fixed)))
    # What is multiplied cannot be scaled; the first map can.
    assert groups.fixed[groups.ids_by_node["pafs/pixels"]].all()
    assert not groups.fixed[groups.ids_by_node["relu1"]].any()
    assert_close(run(graph, image), run(scale_channels(graph, groups, scale), image))


def test_the_pixels_of_a_block_are_scaled_together() -> None:
    nodes = [
        g.Input(name="image"),
        conv("a", "image", (1, 1, 3, 8)),
        g.DepthToSpace(name="b", inputs=("a",), block=2),
        conv("heatmaps", "b", (1, 1, 2, 19)),
        conv("pafs", "b", (1, 1, 2, 38)),
    ]
    groups = group_channels(g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs"))
    ids = groups.ids_by_node
    assert ids["a"].tolist() == [*ids["b"].tolist()] * 4
    assert len(set(ids["b"].tolist())) == 2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras on NumPy 2
def test_keras_gives_the_same_results(graph: g.Graph, image: np.ndarray) -> None:
    from edgepose.convert.exporters import keras

    results = keras.to_keras(graph)(image)
    assert_close(run(graph, image), [results["heatmaps"].numpy(), results["pafs"].numpy()])


def test_pytorch_gives_the_same_results(graph: g.Graph, image: np.ndarray) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
    from edgepose.convert.distill.torch_graph import GraphModule

    with torch.no_grad():
        results = GraphModule(graph)(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()), ("heatmaps", "pafs"))
    assert_close(run(graph, image), [results[name].numpy().transpose(0, 2, 3, 1) for name in ("heatmaps", "pafs")])


@pytest.mark.parametrize(("precision", "decibels"), [("float32", 80), ("int8", 25), ("int16x8", 40)])
def test_files_of_every_precision(
    precision: str,
    decibels: int,
    graph: g.Graph,
    image: np.ndarray,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgepose.convert.importers import frozen_graph

    (tmp_path / "images").mkdir()
    for seed in range(4):
        cv2.imwrite(str(tmp_path / f"images/{seed}.png"), make_image(seed))
    # The importers have tests of their own.
    monkeypatch.setattr(frozen_graph, "load", lambda *_, **__: graph)
    (tmp_path / "net.pb").write_bytes(b"\x0a\x14\x0a\x05image\x12\x0bPlaceholder")
    output = tmp_path / "net.tflite"
    quantization = [] if precision == "float32" else ["--calibration", tmp_path / "images"]
    # The exit code is that of the verification: random weights find nobody.
    call_edgepose(
        capfd, "convert", tmp_path / "net.pb", "-o", output, "--input-size", "96x64", "--precision", precision,
        *quantization,
    )  # fmt: skip
    assert "DepthToSpace" not in capfd.readouterr().err
    manifest, network = container.read(output), Network(output, 1)
    network.get_tensor(network.inputs[0])[:] = image - 128 if manifest.input.dtype == "int8" else image
    network.invoke()
    assert (manifest.input.width, manifest.input.height) == (96, 64)
    found = {info.shape[-1]: _read_values(network, info) for info in network.outputs}
    for expected in run(graph, image):
        error = expected - found[expected.shape[-1]]
        assert 10 * np.log10(np.square(expected).mean() / np.square(error).mean()) > decibels


def _read_values(network: Network, info) -> np.ndarray:  # type: ignore[no-untyped-def]
    values = network.get_tensor(info).astype(np.float32)
    quantization = info.quantization
    return values if quantization is None else (values - quantization.zero_point) * quantization.scale


def test_sizes_and_channels(graph: g.Graph) -> None:
    from edgepose.convert.ir import macs

    assert macs.compute_sizes(graph, 64, 96)["pafs"] == (64, 96)
    assert g.count_channels(graph)["pafs/pixels"] == 6
    assert macs.compute_sizes(small_graph(), 64, 96)["pafs"] == (8, 12)
