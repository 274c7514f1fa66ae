"""PoseEstimator with real networks on the synthetic scene and on photographs."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.runtime import COCO18, PoseEstimator
from edgepose.runtime.errors import ModelError
from edgepose.runtime.model.interpreter import PACKAGES, choose_interpreter
from edgepose.runtime.model.registry import find_model_file
from edgepose.runtime.oks import compute_oks, get_sigmas
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import Pose

from ..conftest import PHOTOGRAPH_OFFSET

SPREAD = get_sigmas(COCO18)


def best_match(truth: np.ndarray, poses: tuple[Pose, ...]) -> tuple[float, np.ndarray]:
    visible = np.column_stack((truth, np.ones(18))).astype(np.float32)
    return max(
        ((compute_oks(visible, pose.keypoints, SPREAD), pose.keypoints) for pose in poses), key=lambda pair: pair[0]
    )


@pytest.mark.parametrize(("model", "least"), [("strong_model", 17), ("float_model", 16), ("small_model", 16)])
def test_finds_the_17_coco_keypoints_of_both_people(model: str, least: int, request: pytest.FixtureRequest) -> None:
    estimator = PoseEstimator(request.getfixturevalue(model), threads=2)
    scene = Scene(2, 640, 480)
    for index in (0, 15, 30, 45):
        frame = scene.render_frame(index)
        estimate = estimator.estimate(frame.image)
        assert len(estimate) == 2
        for truth in frame.keypoints:
            similarity, keypoints = best_match(truth, estimate.poses)
            assert similarity > 0.6
            assert (keypoints[list(COCO18.coco_order), 2] > 0).sum() >= least


def test_finds_a_crowd_of_twelve(strong_model: Path) -> None:
    frame = Scene(12, 960, 720).render_frame(10)
    estimate = PoseEstimator(strong_model, threads=2).estimate(frame.image)
    assert sum(best_match(truth, estimate.poses)[0] > 0.5 for truth in frame.keypoints) >= 11
    assert len(estimate) <= 14


def test_an_empty_scene_has_no_whole_person(small_model: Path) -> None:
    estimate = PoseEstimator(small_model, threads=2).estimate(Scene(0, 640, 480).render_frame(0).image)
    assert all((pose.keypoints[:, 2] > 0).sum() < 10 for pose in estimate)


def test_poses_are_in_pixels_of_the_frame(small_model: Path) -> None:
    """The people have the same positions in a doubled, padded, gray or transparent image."""
    estimator = PoseEstimator(small_model, threads=2)
    image = Scene(2, 640, 480).render_frame(5).image
    plain = estimator.estimate(image).poses
    double = estimator.estimate(cv2.resize(image, None, fx=2, fy=2)).poses
    with_alpha = estimator.estimate(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)).poses
    swapped = estimator.estimate(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), "rgb").poses
    assert len(plain) == len(double) == 2
    for pose in plain:
        scaled = pose.keypoints * np.array([2, 2, 1], np.float32)
        assert max(compute_oks(scaled, other.keypoints, SPREAD) for other in double) > 0.9
    for others in (with_alpha, swapped):
        for pose, other in zip(plain, others, strict=True):
            np.testing.assert_allclose(pose.keypoints, other.keypoints, atol=1e-3)
    assert len(estimator.estimate(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))) == 2


def test_timings_add_up(small_model: Path) -> None:
    timings = PoseEstimator(small_model, threads=1).estimate(Scene(1, 320, 240).render_frame(0).image).timings_ms
    assert all(value > 0 for value in timings)
    assert timings.total == pytest.approx(sum(timings))
    assert timings.inference > timings.preprocess


def test_the_same_frame_gives_the_same_poses(small_model: Path) -> None:
    """No state of the interpreter or the decoder affects the next frame."""
    estimator = PoseEstimator(small_model, threads=2)
    wide, tall = Scene(3, 640, 360).render_frame(0).image, Scene(1, 300, 500).render_frame(0).image
    first = estimator.estimate(wide).poses
    estimator.estimate(tall)
    for pose, again in zip(first, estimator.estimate(wide).poses, strict=True):
        np.testing.assert_array_equal(pose.keypoints, again.keypoints)


def test_results_stay_valid_after_the_next_frame(small_model: Path) -> None:
    estimator = PoseEstimator(small_model, threads=2)
    kept = estimator.estimate(Scene(2, 640, 480).render_frame(0).image)
    copy = [pose.keypoints.copy() for pose in kept]
    estimator.estimate(Scene(5, 640, 480, seed=3).render_frame(0).image)
    for pose, expected in zip(kept, copy, strict=True):
        np.testing.assert_array_equal(pose.keypoints, expected)


@pytest.mark.parametrize("image", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.float64)])
def test_what_is_no_image_is_a_value_error(small_model: Path, image: object) -> None:
    with pytest.raises(ValueError, match="expected an image"):
        PoseEstimator(small_model).estimate(image)  # type: ignore[arg-type]


def test_threads_must_be_positive(small_model: Path) -> None:
    with pytest.raises(ValueError, match="threads: expected an integer from 1 to 64, got 0"):
        PoseEstimator(small_model, threads=0)


def test_maps_that_are_not_finite_are_said(float_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = PoseEstimator(float_model)
    whole = estimator._inference.network.get_tensor

    def spoilt(info: object) -> np.ndarray:
        values = np.array(whole(info))
        values[...] = np.nan
        return values

    monkeypatch.setattr(estimator._inference.network, "get_tensor", spoilt)
    with pytest.raises(ModelError, match="NaN or infinity"):
        estimator.estimate(np.zeros((40, 40, 3), np.uint8))


def test_the_requested_interpreter_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    forced = os.environ.get("EDGEPOSE_INTERPRETER")
    name, _ = choose_interpreter()
    assert name == forced or not forced
    monkeypatch.setenv("EDGEPOSE_INTERPRETER", "tensorrt")
    with pytest.raises(ModelError, match="expected one of ai-edge-litert, tflite-runtime"):
        choose_interpreter()
    for package, module in PACKAGES.items():
        monkeypatch.setenv("EDGEPOSE_INTERPRETER", package)
        try:
            assert choose_interpreter()[1].__module__.startswith(module.partition(".")[0])
        except ModelError as error:
            assert f"pip install {package}`" in str(error)


@pytest.mark.parametrize("name", ["edgepose-tiny", "edgepose-small", "edgepose-medium"])
def test_finds_the_people_in_photographs(name: str, photographs: dict[str, np.ndarray]) -> None:
    estimator = PoseEstimator(find_model_file(name), threads=2)
    found = {photograph: estimator.estimate(image).poses for photograph, image in photographs.items()}
    assert {photograph: len(poses) for photograph, poses in found.items()} == {
        "astronaut": 1, "camera": 1, "chelsea": 0, "coffee": 0, "rocket": 0,
    }  # fmt: skip
    [astronaut] = found["astronaut"]
    # Positions marked by hand in the photograph.
    by_hand = {"nose": (224, 122), "right_eye": (203, 101), "left_eye": (248, 103)}
    for part, place in by_hand.items():
        x, y, score = astronaut.keypoints[COCO18.keypoints.index(part)]
        distance = np.hypot(*(np.array((x, y)) - PHOTOGRAPH_OFFSET - place))
        assert score > 0
        assert distance < 15, f"{part} is {distance:.0f} pixels away"
