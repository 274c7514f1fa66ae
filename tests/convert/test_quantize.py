"""Quantized networks: exact preparation, error-compensating rounding, results of the written files."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.convert.ir import graph as g
from edgepose.convert.networks import define_network
from edgepose.convert.passes.fold import fold
from edgepose.convert.passes.simplify import simplify
from edgepose.convert.quantize import gptq, sensitivity
from edgepose.convert.quantize.channel_groups import group_channels, scale_channels
from edgepose.convert.quantize.plan import compute_quant_params
from edgepose.runtime import PoseEstimator
from edgepose.runtime.decode import Decoder
from edgepose.runtime.errors import ModelError
from edgepose.runtime.io.images import write_image
from edgepose.runtime.model import container
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import PoseFields

from ..conftest import ROOT, call_edgepose, run_edgepose
from .networks import small_graph, write_frozen_graph
from .tensorflow1 import random_weights


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return np.stack([cv2.resize(Scene(2, 320, 240, seed=s).render_frame(s).image, (96, 64)) for s in range(6)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for seed in range(4):
        cv2.imwrite(str(place / f"{seed}.png"), Scene(1 + seed, 160, 120, seed=seed).render_frame(0).image)
    return place


def maps(graph: g.Graph, images: np.ndarray) -> list[np.ndarray]:
    from edgepose.convert.exporters import tensorflow

    results = tensorflow.run_graph(graph, images.astype(np.float32))
    return [results[graph.heatmaps].numpy(), results[graph.pafs].numpy()]


def networks() -> list[g.Graph]:
    from edgepose.convert.importers.weights import fill_definition

    definitions = [define_network(name) for name in ("mobilenet_v2_w0.5_r0.5", "lightweight")]
    return [small_graph(), *(fill_definition(d.cut(2), random_weights(d), "memory")[0] for d in definitions)]


def assert_same(first: g.Graph, second: g.Graph, images: np.ndarray) -> None:
    for a, b in zip(maps(first, images), maps(second, images), strict=True):
        assert np.abs(a).max() > 0.1
        np.testing.assert_allclose(a, b, atol=1e-4 * float(np.abs(a).max()))


@pytest.mark.convert
@pytest.mark.parametrize("number", [0, 1, 2])
def test_channels_can_be_scaled_without_a_change(number: int, images: np.ndarray, rng: np.random.Generator) -> None:
    """Random scales over three orders of magnitude for every group of channels do not change the function."""
    graph = simplify(fold(networks()[number]))
    classes = group_channels(graph)
    scale = np.where(classes.fixed, 1.0, 10 ** rng.uniform(-1.5, 1.5, len(classes.fixed)))
    assert (~classes.fixed).sum() > 20
    for output in (graph.heatmaps, graph.pafs, graph.input.name):
        assert classes.fixed[classes.ids_by_node[output]].all()
    assert_same(graph, scale_channels(graph, classes, scale), images)


@pytest.mark.convert
@pytest.mark.parametrize("number", [0, 1, 2])
def test_offsets_are_absorbed_without_a_change(number: int, images: np.ndarray) -> None:
    """The channels that only 1x1 convolutions read start at 0 or are centered, and the function stays the same."""
    from edgepose.convert.quantize.calibrate import collect_statistics
    from edgepose.convert.quantize.offset_absorption import absorb_offsets
    from edgepose.convert.quantize.plan import find_fused_activation

    graph = simplify(fold(networks()[number]))
    before = collect_statistics(graph, images)
    shifted, statistics = absorb_offsets(graph, before)
    assert_same(graph, shifted, images)
    measured = collect_statistics(shifted, images)
    changed = [name for name in before if statistics[name] is not before[name]]
    assert changed
    for name in changed:
        for low_and_high in (statistics[name].measure_channel_limits(), measured[name].measure_channel_limits()):
            low, high = low_and_high
            extent = float(np.maximum(high - low, np.abs(high)).max())
            if isinstance(shifted.nodes[name], g.Conv):
                assert find_fused_activation(shifted, shifted.nodes[name]) is None
                np.testing.assert_allclose(low, -high, atol=1e-3 * extent)
            else:
                np.testing.assert_allclose(low, 0, atol=1e-3 * extent)


@pytest.mark.convert
def test_equalization_limits_the_weights(images: np.ndarray) -> None:
    """A channel that is almost always 0 does not get weights that TFLite's kernels refuse."""
    from edgepose.convert.quantize.calibrate import collect_statistics
    from edgepose.convert.quantize.cross_layer_equalization import equalize

    graph = simplify(fold(small_graph()))
    statistics = collect_statistics(graph, images)
    for entry in statistics.values():
        for limits in (*entry.min_by_image, *entry.max_by_image):
            limits[:, 0] *= 1e-9
    equalized = equalize(graph, statistics, 1.0)
    largest = [float(np.abs(node.kernel).max()) for node in equalized.nodes.values() if isinstance(node, g.Conv)]
    assert 4000 < max(largest) < 8200
    assert_same(graph, equalized, images)


@pytest.mark.convert
def test_simplifying_changes_nothing_but_the_number_of_operators(images: np.ndarray) -> None:
    for graph in networks():
        folded = fold(graph)
        simple = simplify(folded)
        assert_same(folded, simple, images)
        affine = [node for node in simple.find_nodes(g.Affine) if node.inputs != (simple.input.name,)]
        assert affine == []
        pointless = [
            c for c in simple.find_nodes(g.Conv)
            if isinstance(c, g.Conv) and c.depthwise and c.kernel.shape[:2] == (1, 1)
        ]  # fmt: skip
        assert len(pointless) == (1 if graph is not None and "bn3" in simple.nodes else 0)
        same = [c for c in simple.find_nodes(g.Conv) if isinstance(c, g.Conv) and c.strides == (1, 1)]
        assert all(conv.padding == "SAME" or conv.kernel.shape[:2] == (1, 1) for conv in same)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.sampled_from(["int8", "int16"]))
def test_zero_is_exact_and_the_range_ends_are_close(a: float, b: float, kind: str) -> None:
    low, high = sorted((a, b))
    code = compute_quant_params(low, high, kind)  # type: ignore[arg-type]
    assert -128 <= code.zero_point <= 127
    assert code.scale > 0
    step = code.scale
    assert code.value_range[0] <= min(low, 0) + step
    assert code.value_range[1] >= max(high, 0) - step


@pytest.mark.parametrize("inputs", [9, 32, 100])
def test_gptq_is_better_than_rounding_to_nearest(inputs: int, rng: np.random.Generator) -> None:
    """Compare the output error for correlated inputs (as in activations), many outputs and few levels."""
    x = rng.normal(size=(2000, inputs)) @ (rng.normal(size=(inputs, inputs)) * 0.3 + np.ones((inputs, inputs)))
    weights = rng.normal(size=(inputs, 64))
    hessian = x.T @ x / len(x)
    step = np.abs(weights).max(axis=0) / 7
    nearest = np.rint(weights / step) * step
    by_effect = gptq.round_weights(hessian, weights, step) * step
    each = gptq.round_weights_per_output(np.stack([hessian] * 64), weights, step) * step
    errors = [float(np.square(x @ (w - weights)).mean()) for w in (by_effect, each, nearest)]
    assert errors[0] < 0.5 * errors[2]
    assert errors[1] < 0.5 * errors[2]
    assert np.abs(by_effect / step).max() <= 127


@pytest.mark.convert
@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_the_file_gives_the_simulated_results(kind: str, images: np.ndarray, tmp_path: Path) -> None:
    """Compare the integers of TFLite with the simulation, and roughly with the float network."""
    from edgepose.convert.quantize import layerwise, pipeline, sensitivity
    from edgepose.convert.quantize.write import write_flatbuffer
    from edgepose.runtime.model.interpreter import Network

    fitted = pipeline.fit_network(simplify(fold(small_graph())), images, kind, 18)  # type: ignore[arg-type]
    assert fitted.max_change < 5e-4
    prepared, plan = fitted.graph, fitted.plan
    some = frozenset(list(plan.map_params)[6:9])
    mixed = sensitivity.keep_in_float(plan, some)
    for plan_now in (plan, mixed):
        flatbuffer, counts = write_flatbuffer(plan_now, 96, 64)
        # The image is converted to int16 in two steps, because tflite-runtime has no operator for one.
        assert counts.get("DEQUANTIZE", 0) == (kind == "int16") or plan_now.float_maps
        (tmp_path / "net.tflite").write_bytes(flatbuffer)
        network = Network(tmp_path / "net.tflite")
        assert network.inputs[0].dtype == "int8"
        wanted = layerwise.run_quantized_network(plan_now, images[:2])
        for number, image in enumerate(images[:2]):
            network.get_tensor(network.inputs[0])[0] = image.astype(np.int16) - 128
            network.invoke()
            for info in network.outputs:
                name = prepared.heatmaps if info.name == "heatmaps" else prepared.pafs
                real = network.get_tensor(info)[0].astype(np.float32)
                if info.dtype != "float32":
                    real = (real - info.quantization.zero_point) * info.quantization.scale
                expected = wanted[name][number]
                noise = np.square(real - expected).mean() / np.square(expected).mean()
                assert noise < (1e-2 if kind == "int8" else 1e-4), (name, noise)
    true = maps(prepared, images[:2])
    coded = layerwise.run_quantized_network(plan, images[:2])
    for a, name in zip(true, (prepared.heatmaps, prepared.pafs), strict=True):
        assert np.square(coded[name] - a).mean() / np.square(a).mean() < (2e-2 if kind == "int8" else 2e-3)


@pytest.fixture(scope="session")
def scenes() -> Path:
    """Calibration images: the scene with one to five people. Their path is part of the name of a converted model."""
    folder = ROOT / "build/test-models/scenes"
    folder.mkdir(parents=True, exist_ok=True)
    for people in range(1, 6):
        for index in (0, 20, 40, 60):
            path = folder / f"{people}-{index}.png"
            if not path.exists():
                write_image(path, Scene(people, 640, 480).render_frame(index).image)
    return folder


@pytest.fixture(scope="session")
def int8_model(converted: Callable[..., Path], scenes: Path) -> Path:
    """mobilenet_thin in int8 with three stages and a small input, so that the conversion is fast."""
    some = ["--calibration", scenes, "--input-size", "4:3-small", "--stages", "3"]
    return converted("mobilenet_thin", "--precision", "int8", *some, verdicts=(0, 1))


def test_an_int8_network_finds_people(int8_model: Path) -> None:
    manifest = container.read(int8_model)
    assert (manifest.precision, manifest.input.dtype) == ("int8", "int8")
    [operators] = [step for step in manifest.recipe if step.startswith("operators")]
    assert "QUANTIZE" not in operators
    assert manifest.verification is not None
    assert manifest.verification.heatmaps_sqnr_db is not None
    assert manifest.verification.heatmaps_sqnr_db > 10
    image = Scene(2, 640, 480).render_frame(0).image
    assert sum(pose.score > 0.3 for pose in PoseEstimator(int8_model).estimate(image)) == 2


def test_int8_outputs_are_decoded_directly(int8_model: Path) -> None:
    """Decoding int8 outputs finds the same people as decoding their dequantized values."""
    estimator = PoseEstimator(int8_model)
    image = Scene(3, 640, 480).render_frame(7).image
    fields = estimator.infer(image)
    assert fields.heatmaps.dtype == fields.pafs.dtype == np.int8
    pairs = ((fields.heatmaps, fields.heatmap_quantization), (fields.pafs, fields.paf_quantization))
    real = [((m.astype(np.float32) - q.zero_point) * np.float32(q.scale)).astype(np.float32) for m, q in pairs]
    decoder = Decoder(*estimator.manifest.grid, estimator.manifest.skeleton_table)
    to_frame = estimator.compute_grid_to_frame(image)
    stored, other = decoder.decode(fields, to_frame), decoder.decode(PoseFields(*real), to_frame)
    assert len(stored) == len(other) >= 2
    for a, b in zip(stored, other, strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.02)


@pytest.mark.convert
def test_a_report_is_written_and_a_failed_check_exits_with_1(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With random weights the poses change: the check fails, names layers and still writes the file."""
    write_frozen_graph(small_graph(), tmp_path / "net.pb")
    out, report = tmp_path / "net.tflite", tmp_path / "report"
    options = ["--precision", "int8", "--calibration", folder, "--input-size", "96x64", "--report", report]
    result = call_edgepose(capfd, "convert", tmp_path / "net.pb", "-o", out, *options)
    assert result.returncode in (0, 1), result.stderr
    if result.returncode == 1:
        assert "layers with the largest individual error" in result.stderr
    assert container.read(out).precision == "int8"
    assert [path.name for path in report.iterdir()] == ["net.report.html"], "one file, named after the model"
    page = (report / "net.report.html").read_text()
    assert "Signal-to-noise ratio along the network" in page
    assert "name=viewport" in page
    assert f"<h2>{'Passed' if result.returncode == 0 else 'Failed'}</h2>" in page
    embedded = re.findall("src='data:image/jpeg;base64,([^']+)'", page)
    assert embedded
    assert "src=" not in re.sub("src='data:[^']+'", "", page), "nothing is loaded from other files"
    for text in embedded:
        assert cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR) is not None


@pytest.mark.convert
def test_auto_keeps_blocks_in_float(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_frozen_graph(small_graph(), tmp_path / "net.pb")
    options = ["--precision", "auto", "--calibration", folder, "--input-size", "96x64"]
    out = tmp_path / "net.tflite"
    easy = call_edgepose(capfd, "convert", tmp_path / "net.pb", "-o", out, *options, "--max-drop", "100")
    assert "nothing kept in float" in easy.stdout, easy.stderr
    result = call_edgepose(capfd, "convert", tmp_path / "net.pb", "-o", out, *options, "--max-drop", "0")
    assert result.returncode in (0, 1), result.stderr
    assert "everything in int8 loses" in result.stderr
    recipe = " ".join(json.loads(run_edgepose("info", out, "--json").stdout)["recipe"])
    assert "kept in float" in recipe


@pytest.mark.convert
def test_calibration_takes_a_video_one_image_and_gray_ones(
    tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_frozen_graph(small_graph(), tmp_path / "net.pb")
    video = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for index in range(6):
        writer.write(Scene(2, 160, 120).render_frame(index).image)
    writer.release()
    one = tmp_path / "one"
    one.mkdir()
    cv2.imwrite(str(one / "gray.png"), np.zeros((100, 120), np.uint8))
    for place, words in ((video, "to 6 calibration images"), (one, "to 1 calibration images")):
        out = tmp_path / "net.tflite"
        arguments = ["--precision", "int8", "--calibration", place, "--input-size", "96x64", "--channel-order", "rgb"]
        result = call_edgepose(capfd, "convert", tmp_path / "net.pb", "-o", out, *arguments)
        assert result.returncode in (0, 1), result.stderr
        assert any(words in step for step in container.read(out).recipe), container.read(out).recipe


@pytest.mark.convert
def test_wrong_use_is_one_line_and_2(tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "net.pb"
    write_frozen_graph(small_graph(), source)
    empty, bad = tmp_path / "empty", tmp_path / "bad"
    for place in (empty, bad):
        place.mkdir()
    (bad / "photo.jpg").write_bytes(b"no image")
    (tmp_path / "no.avi").write_bytes(b"no video")
    int8 = ["--precision", "int8", "--input-size", "96x64"]
    cases: list[tuple[list[str | Path], str]] = [
        (int8, "needs calibration images to measure value ranges"),
        ([*int8, "--calibration", empty], "no images in this folder"),
        ([*int8, "--calibration", bad], "photo.jpg"),
        ([*int8, "--calibration", tmp_path / "nowhere"], "expected a folder of images or a video"),
        ([*int8, "--calibration", tmp_path / "no.avi"], "expected an image or a video"),
        (["--report", tmp_path / "r"], "--report is only available for integer precisions"),
        ([*int8, "--calibration", folder, "--max-drop", "-1"], "--max-drop: expected 0 to 100"),
    ]
    for arguments, words in cases:
        out = tmp_path / "out.tflite"
        result = call_edgepose(capfd, "convert", source, "-o", out, *arguments)
        last = result.stderr.splitlines()[-1]
        assert (result.returncode, words in last) == (2, True), result.stderr
        assert not out.exists()


@pytest.mark.convert
def test_an_offset_that_cannot_be_quantized_is_reported(images: np.ndarray) -> None:
    from edgepose.convert.quantize.calibrate import choose_image_params

    graph = small_graph()
    uneven = g.Affine(name="scaled", inputs=("image",), scale=np.ones(1, np.float32),
                      offset=np.array([-103.9, -116.8, -123.7], np.float32))  # fmt: skip
    with pytest.raises(ModelError, match=r"'scaled' adds .* convert to float16 instead"):
        choose_image_params(graph.substitute({"scaled": uneven}))


@pytest.mark.parametrize("count", range(1, 10))
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0, 2.0])
def test_mixed_precision_finds_the_fewest_float_blocks(
    count: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search never tried all blocks if their number was one, or one more than a power of two."""
    needed = max(1, round(share * count))
    blocks = [(f"b{number}",) for number in range(count)]
    monkeypatch.setattr(sensitivity, "_rank_blocks", lambda *_: blocks)
    monkeypatch.setattr(sensitivity, "keep_in_float", lambda plan, names: names)

    def assess(plan: Any) -> sensitivity.MixedPrecision:
        return sensitivity.MixedPrecision(plan, b"", float(needed - len(plan)))

    start = sensitivity.MixedPrecision(frozenset(), b"", float(needed))
    best = sensitivity.search_mixed_precision(start, None, (64, 64), assess, 0.0, lambda text: None)
    assert len(best.blocks) == min(needed, count)
