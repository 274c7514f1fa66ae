"""`edgepose convert --skeleton`: channel counts, suggestions, and models that run with their own skeleton."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgepose
from edgepose.convert.importers import tflite
from edgepose.convert.importers.detect import ImportOptions, find_source
from edgepose.convert.ir import graph as g
from edgepose.convert.ir import stages
from edgepose.convert.ir.output_heads import choose_outputs
from edgepose.convert.quantize import pipeline
from edgepose.runtime import self_check
from edgepose.runtime.errors import InputError, ModelError
from edgepose.runtime.model import container
from edgepose.runtime.model.interpreter import TensorInfo
from edgepose.runtime.model.isolated_load import NetworkTensors
from edgepose.runtime.skeleton import get_skeleton, list_skeletons
from edgepose.runtime.types import Quantization

from ..conftest import call_edgepose
from .networks import conv, write_frozen_graph
from .onnx_files import write_onnx
from .test_graph import make_nodes

CHANNELS = {"coco18": (19, 38), "body25": (26, 52), "mpi15": (16, 28), "trt_pose18": (18, 42), "hand21": (21, 40)}

PAIR = """\
name = "two hands"
background = false
keypoints = ["left_hand", "middle", "right_hand"]
limbs = [
    { a = "left_hand", b = "middle", paf = [0, 1] },
    { a = "middle", b = "right_hand", paf = [2, 3] },
]
"""


def make_tensors(*channels: int) -> NetworkTensors:
    outputs = [TensorInfo(f"out{i}", i, (1, 8, 8, c), "float32", Quantization()) for i, c in enumerate(channels)]
    return NetworkTensors((), tuple(outputs))


@pytest.mark.parametrize("name", list_skeletons())
def test_outputs_are_found_by_the_channels_of_the_skeleton(name: str) -> None:
    heatmaps, pafs = CHANNELS[name]
    skeleton = get_skeleton(name)
    assert (skeleton.heatmap_channels, skeleton.paf_channels) == (heatmaps, pafs)
    found = choose_outputs("f", *make_nodes(pafs, heatmaps, 5), None, None, skeleton)
    assert (found.heatmaps, found.pafs) == ("out1", "out0")
    split = choose_outputs("f", *make_nodes(heatmaps + pafs), None, None, skeleton)
    assert g.count_channels(split)[split.heatmaps] == heatmaps
    # With a background channel instead of none, or the other way around.
    other = heatmaps + (-1 if skeleton.background else 1)
    found = choose_outputs("f", *make_nodes(pafs, other), None, None, skeleton)
    assert g.count_channels(found)[found.heatmaps] == other
    spec, _ = tflite.find_outputs(Path("f"), make_tensors(pafs, other), None, None, skeleton)
    assert (spec.tensor, spec.stop) == ("out1", other)
    spec, _ = tflite.find_outputs(Path("f"), make_tensors(heatmaps + pafs), None, None, skeleton)
    assert (spec.start, spec.stop) == (0, heatmaps)


@pytest.mark.parametrize("name", list_skeletons())
def test_the_order_of_one_output_is_read_from_its_parts(name: str) -> None:
    skeleton = get_skeleton(name)
    heatmaps, pafs = CHANNELS[name]
    orders: list[tuple[tuple[int, ...], int]] = [
        ((heatmaps, pafs), 0), ((pafs, heatmaps), pafs), ((heatmaps - 1, 1, pafs), 0),
        ((pafs, heatmaps - 1, 1), pafs),
    ]  # fmt: skip
    for parts, start in orders:
        nodes, names = make_nodes(*parts)
        nodes["joined"] = g.Concat(name="joined", inputs=tuple(names))
        found = choose_outputs("f", nodes, ["joined"], None, None, skeleton)
        counts = g.count_channels(found)
        assert (counts[found.heatmaps], counts[found.pafs]) == (heatmaps, pafs)
        if isinstance(found.nodes[found.heatmaps], g.Slice):
            assert found.nodes[found.heatmaps].start == start  # type: ignore[attr-defined]
        else:
            assert found.heatmaps == names[parts.index(heatmaps)]


@pytest.mark.parametrize("name", list_skeletons())
def test_an_onnx_model_has_the_channels_of_the_skeleton(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra `onnx`)")
    heatmaps, pafs = CHANNELS[name]
    skeleton = get_skeleton(name)
    for count in (heatmaps, heatmaps + (-1 if skeleton.background else 1)):
        write_onnx(make_graph(count, pafs), tmp_path / "net.onnx")
        graph = find_source(str(tmp_path / "net.onnx")).load(ImportOptions(skeleton=skeleton)).graph
        assert [g.count_channels(graph)[output] for output in (graph.heatmaps, graph.pafs)] == [count, pafs]


@pytest.mark.convert
def test_the_last_keypoint_counts_if_there_is_no_background() -> None:
    """Where people are in the calibration images is read from all keypoints, not from the background."""
    graph = make_graph(18, 42)
    silent = {
        name: replace(graph.nodes[name], kernel=np.zeros_like(graph.nodes[name].kernel), bias=bias)  # type: ignore
        for name, bias in (("h2", np.eye(18, dtype=np.float32)[-1]), ("p2", np.zeros(42, np.float32)))
    }
    images = np.zeros((1, 64, 64, 3), np.uint8)
    for keypoint_count, presence in ((18, 1), (17, 0)):
        found = pipeline._measure_presence(graph.substitute(silent), images, keypoint_count)
        assert (found.images_with_people, found.presence.max()) == (presence, presence)


@pytest.mark.parametrize("name", [name for name in list_skeletons() if name != "coco18"])
def test_the_error_names_the_skeleton_that_fits(name: str) -> None:
    heatmaps, pafs = CHANNELS[name]
    other = heatmaps + (-1 if get_skeleton(name).background else 1)
    for channels in ((heatmaps, pafs), (heatmaps + pafs,), (other, pafs)):
        with pytest.raises(ModelError, match=f"They fit the skeleton {name}: add --skeleton {name}$"):
            choose_outputs("f", *make_nodes(*channels), None, None)
        with pytest.raises(ModelError, match=f"They fit the skeleton {name}: add --skeleton {name}$"):
            tflite.find_outputs(Path("f"), make_tensors(*channels), None, None)
    with pytest.raises(ModelError, match=f"expected 19 channels in 'out0', got {heatmaps}. They fit the .* {name}:"):
        choose_outputs("f", *make_nodes(heatmaps, pafs), "out0", "out1")


def test_no_shipped_skeleton_fits() -> None:
    for channels in ((33, 64), (19, 19, 38), (19,)):
        with pytest.raises(ModelError, match=r"for other keypoints and limbs, add --skeleton FILE\.toml"):
            choose_outputs("f", *make_nodes(*channels), None, None)
    with pytest.raises(ModelError, match=r"expected outputs with 26 .* They fit the skeleton coco18: add --skeleton"):
        choose_outputs("f", *make_nodes(19, 38), None, None, get_skeleton("body25"))


def make_graph(heatmaps: int, pafs: int) -> g.Graph:
    """Return a network of one stage and a refinement stage, with stride 8."""
    nodes: list[g.Node] = [g.Input(name="image")]
    for number, channels in enumerate((8, 8, 8)):
        nodes.append(conv(f"conv{number}", nodes[-1].name, (3, 3, 8 if number else 3, channels), strides=(2, 2)))
    nodes += [conv("h1", "conv2", (1, 1, 8, heatmaps)), conv("p1", "conv2", (1, 1, 8, pafs))]
    nodes.append(g.Concat(name="joined", inputs=("conv2", "h1", "p1")))
    width = 8 + heatmaps + pafs
    nodes += [conv("h2", "joined", (1, 1, width, heatmaps)), conv("p2", "joined", (1, 1, width, pafs))]
    return g.Graph({node.name: node for node in nodes}, "h2", "p2")


def test_stages_have_the_channels_of_the_last_one() -> None:
    assert [stage.heatmaps for stage in stages.find(make_graph(26, 52))] == ["h1", "h2"]


def convert(tmp_path: Path, heatmaps: int, pafs: int, **options: Any) -> Path:
    source, out = tmp_path / "net.pb", tmp_path / "net.tflite"
    write_frozen_graph(make_graph(heatmaps, pafs), source, joined=False)
    edgepose.convert_model(source, out, input_size=(128, 96), **options)
    return out


@pytest.mark.convert
def test_a_model_with_a_skeleton_of_a_user_is_self_contained(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pair.toml"
    file.write_text(PAIR, encoding="utf-8")
    out = convert(tmp_path, 3, 4, skeleton=str(file))
    file.unlink()
    manifest = container.read(out)
    assert manifest.skeleton_table.keypoints == ("left_hand", "middle", "right_hand")
    assert manifest.golden is None  # the synthetic people do not have these keypoints
    estimator = edgepose.PoseEstimator(out)
    assert self_check.check(estimator) == ""
    assert "no figure for two hands" in self_check.describe(estimator.manifest)
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    ran = call_edgepose(capfd, "run", "-m", out, image, "--draw", tmp_path / "drawn", "--min-score", "0")
    assert ran.returncode == 0, ran.stderr
    line = json.loads(ran.stdout)
    assert line["skeleton"] == "two hands"
    assert all(len(pose["keypoints"]) == 3 for pose in line["poses"])
    assert (tmp_path / "drawn/image.jpg").is_file()
    refused = call_edgepose(capfd, "run", "-m", out, image, "--format", "coco")
    assert refused.returncode == 2
    assert "which the skeleton two hands does not have" in refused.stderr
    assert "two hands (3 keypoints, 2 limbs)" in call_edgepose(capfd, "info", out).stdout


@pytest.mark.convert
def test_a_background_channel_is_read_from_the_network(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = container.read(convert(tmp_path, 22, 40, skeleton="hand21"))
    assert manifest.skeleton_definition is not None
    assert (manifest.skeleton, manifest.skeleton_table.background) == ("hand21", True)
    manifest = container.read(convert(tmp_path, 18, 42, skeleton="trt_pose18"))
    assert (manifest.skeleton, manifest.skeleton_definition) == ("trt_pose18", None)
    assert manifest.golden is not None


@pytest.mark.convert
def test_wrong_skeletons_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "net.pb", tmp_path / "net.tflite"
    write_frozen_graph(make_graph(26, 52), source, joined=False)
    for name, message in (("body52", "did you mean body25?"), (tmp_path / "no.toml", "no.toml: cannot read")):
        result = call_edgepose(capfd, "convert", source, "-o", out, "--skeleton", name)
        assert result.returncode == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    result = call_edgepose(capfd, "convert", "mobilenet_thin", "--untrained", "-o", out, "--skeleton", "body25")
    assert (result.returncode, "have the skeleton coco18" in result.stderr) == (2, True), result.stderr


@pytest.mark.convert
def test_models_for_a_hot_board_need_the_same_skeleton(tmp_path: Path) -> None:
    from edgepose.device.camera.build_loop import build_loop
    from edgepose.device.config import Config, ModelConfig

    for name, channels in (("mpi15", (16, 28)), ("body25", (26, 52))):
        convert(tmp_path, *channels, skeleton=name).rename(tmp_path / f"{name}.tflite")
    first, second = (str(tmp_path / f"{name}.tflite") for name in ("mpi15", "body25"))
    with pytest.raises(ModelError, match=r"expected the skeleton mpi15 of .*, got body25"):
        build_loop(Config(model=ModelConfig(path=first, when_hot=(second,))))
    build_loop(Config(model=ModelConfig(path=first, when_hot=(first,))))


def test_ap_needs_the_keypoints_of_coco(tmp_path: Path) -> None:
    from edgepose.convert import convert as conversion
    from edgepose.convert.importers.detect import Source

    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/1.png"), np.zeros((8, 8, 3), np.uint8))
    options = conversion.ConversionOptions(
        skeleton=get_skeleton("mpi15"), verify=tmp_path / "images", annotations=tmp_path / "a.json"
    )
    with pytest.raises(InputError, match="which the skeleton mpi15 does not have"):
        conversion.convert(Source("frozen graph", tmp_path / "n.pb", ""), tmp_path / "o.tflite", options, print)
