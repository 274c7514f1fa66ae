"""The models in the package: size, accuracy, minimum pose score."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.convert.quantize.calibration_images import ImageFolder
from edgepose.convert.validate import score_threshold
from edgepose.runtime import PoseEstimator
from edgepose.runtime.decode import DecoderOptions
from edgepose.runtime.errors import InputError
from edgepose.runtime.model import container, registry
from edgepose.runtime.oks import count_matches, get_sigmas
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import Pose

from ..conftest import call_edgepose, find_test_data

PACKAGED = {path.stem: path for path in registry.list_packaged_models()}


def make_true_poses(scene: Scene, index: int) -> list[Pose]:
    shown = scene.render_frame(index).keypoints
    return [Pose(np.concatenate((points, np.ones((18, 1), np.float32)), axis=1), 1.0) for points in shown]


def test_packaged_models_are_small() -> None:
    path = registry.find_model_file(None)
    assert path == PACKAGED["edgepose-tiny"]
    assert path.stat().st_size <= 1_500_000
    manifest = container.read(path)
    assert (manifest.precision, manifest.input.dtype, manifest.input.channel_order) == ("int8", "int8", "rgb")
    assert manifest.macs is not None
    assert manifest.macs <= 0.6e9
    assert manifest.license == "Apache-2.0"
    assert manifest.min_score is not None
    assert manifest.accuracy is not None


@pytest.mark.parametrize("name", sorted(PACKAGED))
@pytest.mark.parametrize("people", [1, 2, 3])
def test_finds_all_people_in_synthetic_scenes(name: str, people: int) -> None:
    estimator = PoseEstimator(PACKAGED[name])
    spread = get_sigmas(COCO18)
    hits = wanted = found = 0
    for seed in range(6):
        scene = Scene(people, 640, 480, seed=seed)
        poses = estimator.estimate(scene.render_frame(20).image).poses
        there, count = count_matches(make_true_poses(scene, 20), poses, spread, min_oks=0.5, min_keypoints=5)
        hits, wanted, found = hits + there, wanted + count, found + len(poses)
    assert hits >= 0.9 * wanted
    assert found <= 1.1 * wanted


def test_an_image_without_people_has_no_poses() -> None:
    estimator = PoseEstimator()
    for seed in range(10):
        assert len(estimator.estimate(Scene(0, 640, 480, seed=seed).render_frame(0).image)) == 0


@pytest.mark.once
def test_no_model_option_is_needed(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), Scene(2, 640, 480).render_frame(5).image)
    done = call_edgepose(capfd, "run", tmp_path / "photo.png")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["poses"]) == 2
    assert "edgepose-tiny" in call_edgepose(capfd, "info").stdout


@pytest.mark.once
def test_ap_is_at_least_the_required_value(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    images = find_test_data("coco-dev")
    done = call_edgepose(
        capfd,
        "eval",
        "--images",
        images / "images",
        "--annotations",
        images / "person_keypoints.json",
        "--json",
        "-",
    )
    assert json.loads(done.stdout)["AP"] >= 0.25


def test_the_minimum_score_leaves_two_false_poses_per_100_images() -> None:
    found = [i / 1000 for i in range(500)]
    least = score_threshold.choose_score_threshold(found, 100)
    assert sum(score >= least for score in found) <= 2
    assert sum(score >= least - 0.011 for score in found) > 2, "no higher than it must be"
    assert score_threshold.choose_score_threshold([], 100) == 0.0
    assert score_threshold.choose_score_threshold([0.9], 100) == 0.0, "two are allowed"
    with pytest.raises(InputError, match="expected at least 50 images"):
        score_threshold.choose_score_threshold(found, 10)


def test_scores_of_false_poses_are_not_cut_off(tmp_path: Path) -> None:
    for seed in range(3):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), Scene(1, 320, 240, seed=seed).render_frame(0).image)
    path = registry.find_model_file(None)
    estimator = PoseEstimator(path, options=DecoderOptions())
    seen = score_threshold.collect_false_scores(estimator, ImageFolder(tmp_path), 3)
    assert len(seen) >= 3
    least = container.read(path).min_score
    assert least is not None
    kept = [len(PoseEstimator(path).estimate(cv2.imread(str(tmp_path / f"{seed}.png")))) for seed in range(3)]
    assert sum(kept) == sum(score >= least for score in seen)


@pytest.mark.once
def test_the_minimum_score_is_an_option(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), Scene(2, 640, 480).render_frame(5).image)
    none = call_edgepose(capfd, "run", tmp_path / "photo.png", "--min-score", "0.99")
    assert json.loads(none.stdout)["poses"] == []
