"""Conversion of every network by name: stages, input sizes, random weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgepose.convert.ir import input_sizes, macs, stages
from edgepose.convert.networks import NETWORKS, define_network
from edgepose.convert.passes.fold import fold
from edgepose.convert.passes.simplify import simplify
from edgepose.runtime import PoseEstimator
from edgepose.runtime.model import container
from edgepose.runtime.synthetic import Scene

from ..conftest import call_edgepose, find_weights, run_edgepose
from .networks import small_graph

PRECISIONS = ("float32", "float16", "dynamic")


@pytest.mark.convert
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_converts_and_runs(
    name: str, precision: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """If FAMILY_FOLDER is set, the files are kept there for the environment with the other interpreter."""
    folder = Path(os.environ.get("FAMILY_FOLDER", tmp_path))
    out = folder / f"{name}-{precision}.tflite"
    options = ["--untrained", "--precision", precision, "--input-size", "4:3-tiny"]
    result = call_edgepose(capfd, "convert", name, "-o", out, *options)
    assert result.returncode == 0, result.stderr
    assert_runs(out)


def assert_runs(path: Path) -> None:
    estimator = PoseEstimator(path, threads=2)
    manifest = estimator.manifest
    assert manifest.untrained
    network = manifest.network
    assert manifest.parameters == simplify(fold(define_network(network).graph)).parameters
    fields = estimator.infer(Scene(1, 640, 480).render_frame(0).image)
    rows, columns = 144 // manifest.stride, 192 // manifest.stride
    assert fields.heatmaps.shape == (rows, columns, 19)
    assert fields.pafs.shape == (rows, columns, 38)
    assert np.isfinite(fields.heatmaps).all()
    assert np.ptp(fields.heatmaps) > 0


@pytest.mark.slow
def test_every_network_runs_in_this_interpreter_too() -> None:
    folder = os.environ.get("FAMILY_FOLDER")
    if folder is None:
        pytest.skip("the files of all networks are not there: set FAMILY_FOLDER (make test-family does)")
    files = sorted(Path(folder).glob("*.tflite"))
    assert len(files) == len(NETWORKS) * len(PRECISIONS)
    for path in files:
        assert_runs(path)


@pytest.mark.convert
def test_random_weights_are_marked_and_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.tflite"
    result = call_edgepose(capfd, "convert", "mobilenet_thin", "--untrained", "-o", out, "--input-size", "4:3-tiny")
    assert result.returncode == 0, result.stderr
    assert "random" in result.stdout
    manifest = container.read(out)
    assert (manifest.untrained, manifest.network, manifest.stages, manifest.input.width) == (
        True,
        "mobilenet_thin",
        6,
        192,
    )
    refused = run_edgepose("run", "-m", out, "synthetic")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--allow-untrained" in refused.stderr
    assert run_edgepose("run", "-m", out, "synthetic", "--allow-untrained").returncode == 0
    again = tmp_path / "again.tflite"
    call_edgepose(capfd, "convert", "mobilenet_thin", "--untrained", "-o", again, "--input-size", "4:3-tiny")
    assert container.read(again).flatbuffer_sha256 == manifest.flatbuffer_sha256
    named = call_edgepose(capfd, "convert", "human-pose-estimation-0001", "--untrained", "-o", again,
                          "--input-size", "4:3-tiny", "--stages", "1")  # fmt: skip
    assert named.returncode == 0, named.stderr
    assert (container.read(again).network, container.read(again).stages) == ("lightweight", 1)


@pytest.mark.convert
def test_an_imported_graph_is_cut_after_a_stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """human-pose-estimation-0001 cut after its first stage costs less and has the outputs of that stage."""
    source = find_weights("human-pose-estimation-0001")
    out = tmp_path / "one.tflite"
    result = call_edgepose(capfd, "convert", source, "-o", out, "--stages", "1", "--input-size", "4:3-small")
    assert result.returncode == 0, result.stderr
    manifest = container.read(out)
    assert manifest.stages == 1
    assert "cut after stage 1" in manifest.recipe
    from edgepose.convert.exporters import tensorflow
    from edgepose.convert.importers import openvino_ir

    whole = openvino_ir.load(source)
    assert manifest.macs == macs.count(stages.cut(whole, 1), 192, 256)
    assert manifest.macs < 0.65 * macs.count(whole, 192, 256)
    image = Scene(2, 256, 192).render_frame(0).image
    first = stages.find(whole)[0]
    expected = tensorflow.run_graph(whole, image[None].astype(np.float32), first)
    fields = PoseEstimator(out).infer(image)
    np.testing.assert_allclose(fields.heatmaps, expected[first.heatmaps][0], atol=1e-3)
    np.testing.assert_allclose(fields.pafs, expected[first.pafs][0], atol=1e-3)


def test_a_network_without_refinement_has_one_stage() -> None:
    graph = small_graph()
    assert stages.find(graph) == [stages.Stage("heatmaps", "pafs")]
    assert stages.cut(graph, 1).nodes.keys() == graph.nodes.keys()


@pytest.mark.convert
def test_wrong_use_is_one_line_and_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.tflite"
    find_weights("human-pose-estimation-0001")
    for arguments, words in [
        (["cmu"], "cmu: no published weights are known"),
        (["mobilenet_v2_smal"], "did you mean mobilenet_v2_small"),
        (["mobilenet_thinn", "--untrained"], "did you mean mobilenet_thin"),
        (["mobilenet_thin", "--untrained", "--stages", "7"], "--stages 7: expected 1 to 6"),
        (["mobilenet_thin", "--untrained", "--stages", "0"], "--stages: expected 1 or more"),
        (["mobilenet_thin", "--untrained", "--network", "cmu"], "--untrained takes the name of a network"),
        (["human-pose-estimation-0001", "--stages", "3"], "--stages 3: expected 1 to 2"),
        (
            ["human-pose-estimation-0001", "--network", "cmu"],
            "conv4_4_CPM/weights has the wrong shape: expected (3, 3, 256, 128), got (3, 3, 128, 128)",
        ),
        (["mobilenet_thin", "--untrained", "--input-size", "4:3-medum"], "4:3-medium"),
        ([str(tmp_path)], "expected saved_model.pb in this folder"),
    ]:
        result = call_edgepose(capfd, "convert", *arguments, "-o", out)
        errors = [
            line
            for line in result.stderr.splitlines()
            if not line.startswith(("edgepose: importing", "edgepose: defi"))
        ]
        assert (result.returncode, len(errors)) == (2, 1), result.stderr
        assert words in errors[0], result.stderr
        assert not out.exists()


def test_named_sizes_have_their_aspect_ratio() -> None:
    for name, (width, height) in input_sizes.NAMED_SIZES.items():
        assert (width % 16, height % 16) == (0, 0)
        across, down = map(int, name.partition("-")[0].split(":"))
        assert abs(width / height / (across / down) - 1) < 0.01
        assert input_sizes.parse(name) == (width, height)
    with pytest.raises(ValueError, match="4:3-small"):
        input_sizes.parse("4:3-smal")


def test_sizes_with_misaligned_features_are_reported() -> None:
    graph = define_network("mobilenet_v2_small").graph
    assert macs.has_misaligned_resize(graph, 360, 480)
    assert not macs.has_misaligned_resize(graph, 336, 448)
    assert not macs.has_misaligned_resize(define_network("mobilenet_thin").graph, 360, 480)
