"""`edgepose convert` and `edgepose eval` with complete files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.convert.convert import ConversionOptions, convert
from edgepose.convert.importers.detect import find_source
from edgepose.runtime import PoseEstimator, self_check
from edgepose.runtime.errors import OutputError
from edgepose.runtime.model import container
from edgepose.runtime.synthetic import Scene

from ..conftest import call_edgepose, find_weights, run_edgepose
from .networks import small_graph, write_frozen_graph


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        cv2.imwrite(str(folder / f"{seed}.png"), Scene(2, 320, 240, seed=seed).render_frame(0).image)
    return folder


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    write_frozen_graph(small_graph(), tmp_path / "net.pb")
    return tmp_path / "net.pb"


@pytest.mark.convert
@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic"])
def test_every_precision_converts_and_is_verified(
    frozen: Path, images: Path, tmp_path: Path, precision: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The verification may fail, because random weights amplify errors, but its results must be in the manifest."""
    out = tmp_path / "net.tflite"
    options = ["--precision", precision, "--input-size", "96x64", "--verify", images, "--network", "mine"]
    result = call_edgepose(capfd, "convert", frozen, "-o", out, *options)
    assert result.returncode == (1 if "verdict: failed" in result.stdout else 0), result.stderr
    assert result.stdout.startswith(f"wrote {out} (")
    manifest = container.read(out)
    assert (manifest.network, manifest.precision) == ("mine", precision)
    assert (manifest.input.width, manifest.input.height) == (96, 64)
    assert manifest.verification is not None
    assert manifest.verification.images == 3
    limit = {"float32": 1e-4, "float16": 5e-2, "dynamic": 1.0}[precision]
    assert 0 <= manifest.verification.heatmaps_rmse < limit
    if precision == "float32":
        assert result.returncode == 0
    PoseEstimator(out).estimate(np.zeros((48, 64, 3), np.uint8))


@pytest.mark.convert
def test_a_negative_verdict_exits_with_1_and_writes_the_file(
    frozen: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgepose.convert.validate import verdict
    from edgepose.runtime.cli.main import main

    monkeypatch.setitem(verdict.MIN_POSE_AP, "float16", 1.01)
    out = tmp_path / "net.tflite"
    arguments = ["convert", str(frozen), "-o", str(out), "--precision", "float16", "--input-size", "96x64"]
    assert main([*arguments, "--verify", str(images)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"wrote {out} (")
    assert lines[1].startswith("verdict: failed: agreement with the poses of the source")
    assert any(line.startswith("advice: --precision float32") for line in lines)
    assert container.read(out).verification is not None


@pytest.mark.convert
def test_strict_refuses_a_verdict_with_doubts(frozen: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["convert", frozen, "-o", tmp_path / "net.tflite", "--input-size", "96x64"]
    assert call_edgepose(capfd, *arguments).returncode == 0
    strict = call_edgepose(capfd, *arguments, "--strict")
    assert strict.returncode == 1
    assert "doubt: not compared with the source" in strict.stdout


@pytest.mark.convert
def test_rgb_models_give_the_same_maps(frozen: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    maps = []
    image = Scene(2, 96, 64).render_frame(0).image
    for order in ("bgr", "rgb"):
        out = tmp_path / f"{order}.tflite"
        options = ["--input-size", "96x64", "--channel-order", order]
        assert call_edgepose(capfd, "convert", frozen, "-o", out, *options).returncode == 0
        estimator = PoseEstimator(out)
        assert estimator.manifest.input.channel_order == order
        maps.append(np.array(estimator.infer(image).heatmaps))
        maps.append(np.array(estimator.infer(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), "rgb").heatmaps))
    for other in maps[1:]:
        np.testing.assert_allclose(maps[0], other, atol=1e-3)


@pytest.mark.convert
def test_training_mode_needs_calibration_images(
    tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_frozen_graph(small_graph(training=True), tmp_path / "net.pb")
    out = tmp_path / "net.tflite"
    options = ["-o", out, "--input-size", "96x64"]
    refused = call_edgepose(capfd, "convert", tmp_path / "net.pb", *options)
    assert refused.returncode == 2
    assert "need statistics" in refused.stderr
    assert "--calibration" in refused.stderr
    assert not out.exists()
    repaired = call_edgepose(
        capfd, "convert", tmp_path / "net.pb", *options, "--calibration", images, "--verify", images
    )
    assert repaired.returncode == 0, repaired.stderr
    assert "repaired: 2 batch normalizations" in repaired.stderr
    assert "only 3 calibration images" in repaired.stderr
    assert any("training mode" in step for step in container.read(out).recipe)


@pytest.mark.convert
def test_the_published_graph_is_refused_without_calibration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.tflite"
    result = call_edgepose(capfd, "convert", find_weights("mobilenet_v2_small"), "-o", out)
    assert result.returncode == 2
    assert "its 39 batch normalizations need statistics; add --calibration DIR" in result.stderr
    assert not out.exists()


def test_a_manifest_is_added_to_a_tflite(strong_model: Path, tmp_path: Path) -> None:
    """The network is unchanged, so TensorFlow is not needed."""
    original = container.read(strong_model)
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(container.read_flatbuffer(strong_model))
    out = tmp_path / "out.tflite"
    result = run_edgepose("convert", bare, "-o", out, "--resize", "stretch")
    assert result.returncode == 0, result.stderr
    manifest = container.read(out)
    assert manifest.flatbuffer_sha256 == original.flatbuffer_sha256
    assert (manifest.input.resize, manifest.stride, manifest.network) == ("stretch", 8, "bare")
    assert len(PoseEstimator(out).estimate(Scene(2, 640, 480).render_frame(0).image)) == 2


def test_a_full_disk_during_the_reference_poses_keeps_the_old_file(
    strong_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "network.tflite", tmp_path / "out.tflite"
    source.write_bytes(container.load(strong_model).network)
    output.write_bytes(b"old")

    def fail(path: Path) -> None:
        assert output.read_bytes() == b"old"
        raise OutputError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(self_check, "record", fail)
    with pytest.raises(OutputError):
        convert(find_source(str(source)), output, ConversionOptions(), lambda step: None)
    assert output.read_bytes() == b"old"
    monkeypatch.undo()
    convert(find_source(str(source)), output, ConversionOptions(), lambda step: None)
    assert container.read(output).golden is not None


def test_a_tflite_with_one_joined_output(tmp_path: Path) -> None:
    source = next(
        (Path(folder) for folder in _model_folders() if (Path(folder) / "pinto_mobilenet_v2_1.4").is_dir()), None
    )
    if source is None:
        pytest.skip("pinto_mobilenet_v2_1.4 is not there: set EDGEPOSE_MODELS")
    path = next((source / "pinto_mobilenet_v2_1.4").glob("*.tflite"))
    out = tmp_path / "out.tflite"
    assert run_edgepose("convert", path, "-o", out).returncode == 0
    manifest = container.read(out)
    assert (manifest.heatmaps.start, manifest.heatmaps.stop, manifest.pafs.start, manifest.pafs.stop) == (0, 19, 19, 57)
    assert manifest.heatmaps.tensor == manifest.pafs.tensor
    assert len(PoseEstimator(out, threads=2).estimate(Scene(2, 640, 480).render_frame(0).image)) == 2


def _model_folders() -> list[str]:
    import os

    return [part for part in os.environ.get("EDGEPOSE_MODELS", "").split(os.pathsep) if part]


def test_wrong_use_is_one_line_and_2_and_writes_nothing(tmp_path: Path, small_model: Path) -> None:
    (tmp_path / "bad.pb").write_bytes(b"\xff no graph")
    (tmp_path / "bad.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + b"\xff" * 500)
    (tmp_path / "photo.jpg").write_bytes(b"\xff")
    folder = tmp_path / "empty"
    folder.mkdir()
    one = tmp_path / "one"
    one.mkdir()
    cv2.imwrite(str(one / "a.png"), np.zeros((48, 64, 3), np.uint8))
    out = tmp_path / "out.tflite"
    cases: list[tuple[list[str | Path], str]] = [
        (["missing.pb"], "cannot read the network"),
        ([tmp_path / "photo.jpg"], "expected a file that ends in .weights.h5, .pb"),
        (["mobilnet_v2_small"], "did you mean mobilenet_v2_small"),
        ([tmp_path / "bad.tflite"], "bad.tflite"),
        ([small_model, "--precision", "float16"], "--precision cannot be used on a TFLite file"),
        ([small_model, "--input-size", "96x64"], "keeps its input size"),
        ([small_model, "--input-size", "large"], "WIDTHxHEIGHT"),
        ([small_model, "--precision", "int7"], "did you mean int8?"),
        ([small_model, "--heatmaps", "a"], "go together"),
        ([small_model, "--annotations", "a.json"], "--annotations goes with --verify"),
        ([small_model, "--verify", folder], "no images in this folder"),
        ([small_model, "--empty", one], "expected at least 50 images without people, got 1"),
        ([small_model, "--verify", tmp_path / "nowhere"], "cannot read the folder"),
        ([small_model, "--heatmaps", "a", "--pafs", "b"], "no output 'a'"),
    ]
    for arguments, words in cases:
        result = run_edgepose("convert", *arguments, "-o", out)
        assert result.returncode == 2, (arguments, result)
        assert words in result.stderr, result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        assert not out.exists()
    for place, words in (("out.onnx", "ends in .tflite"), ("no/folder/out.tflite", "there is no folder")):
        result = run_edgepose("convert", small_model, "-o", tmp_path / place)
        assert (result.returncode, words in result.stderr) == (2, True), result.stderr


@pytest.mark.convert
def test_wrong_sizes_and_graphs_are_one_line_and_2(
    tmp_path: Path, frozen: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.pb").write_bytes(b"\xff no graph")
    out = tmp_path / "out.tflite"
    cases: list[tuple[list[str | Path], str]] = [
        ([frozen, "--input-size", "97x64"], "multiples of 8"),
        ([frozen, "--input-size", "8x8"], "multiples of 8 from 64"),
        ([tmp_path / "bad.pb"], "not a TensorFlow frozen graph"),
        ([frozen, "--heatmaps", "nothing", "--pafs", "pafs"], "no operator 'nothing'"),
    ]
    for arguments, words in cases:
        result = call_edgepose(capfd, "convert", *arguments, "-o", out)
        assert (result.returncode, words in result.stderr) == (2, True), result.stderr
        assert "Traceback" not in result.stderr
        assert not out.exists()


def test_eval_scores_with_pycocotools(small_model: Path, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "score.json"
    arguments = ["--images", dataset / "images", "--annotations", dataset / "annotations.json", "--limit", "3"]
    result = run_edgepose("eval", "-m", small_model, *arguments, "--json", out)
    assert result.returncode == 0, result.stderr
    score = json.loads(out.read_text())
    expected = {"model", "images", "AP", "AP50", "AP75", "APm", "APl", "AR", "precision", "input_size"}
    assert expected <= score.keys()
    assert (score["images"], score["input_size"], score["precision"]) == (3, [432, 368], "int8")
    assert score["AP"] > 0.2
    assert "AP50" in result.stdout


def test_bad_annotations_are_one_line_and_2(small_model: Path, dataset: Path, tmp_path: Path) -> None:
    images = dataset / "images"
    good = json.loads((dataset / "annotations.json").read_text())
    cases = {
        "": "an empty file",
        "[]": "expected COCO annotations",
        json.dumps({**good, "images": []}): "annotations is empty",
        json.dumps({**good, "images": [{**good["images"][0], "file_name": "gone.jpg"}]}): "not found: gone.jpg",
        json.dumps({**good, "images": [{"id": 1}]}): "expected a file_name",
    }
    for content, words in cases.items():
        (tmp_path / "a.json").write_text(content)
        result = run_edgepose("eval", "-m", small_model, "--images", images, "--annotations", tmp_path / "a.json")
        assert (result.returncode, words in result.stderr) == (2, True), result.stderr
        assert result.stderr.count("\n") == 1
    for limit in ("0", "-1"):
        arguments = ["--images", images, "--annotations", dataset / "annotations.json", "--limit", limit]
        assert run_edgepose("eval", "-m", small_model, *arguments).returncode == 2
