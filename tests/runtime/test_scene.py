"""Properties of the synthetic scene. test_estimator.py tests that networks find its people."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.runtime.synthetic import Scene


def test_the_same_seed_gives_the_same_frames() -> None:
    first, again, other = Scene(3, seed=1), Scene(3, seed=1), Scene(3, seed=2)
    np.testing.assert_array_equal(first.render_frame(9).image, again.render_frame(9).image)
    np.testing.assert_array_equal(first.render_frame(9).keypoints, again.render_frame(9).keypoints)
    assert (first.render_frame(9).image != other.render_frame(9).image).any()


def test_frames_can_be_requested_in_any_order() -> None:
    scene = Scene(2)
    late = scene.render_frame(50)
    scene.render_frame(3)
    np.testing.assert_array_equal(scene.render_frame(50).image, late.image)


@pytest.mark.parametrize("people", [0, 1, 2, 7, 30])
@pytest.mark.parametrize("size", [(640, 480), (320, 568), (1280, 720)])
def test_people_are_inside_the_image_and_separate(people: int, size: tuple[int, int]) -> None:
    scene = Scene(people, *size)
    for index in (0, 40, 200):
        frame = scene.render_frame(index)
        assert frame.image.shape == (size[1], size[0], 3)
        assert frame.keypoints.shape == (people, 18, 2)
        assert ((frame.keypoints >= 0) & (frame.keypoints < size)).all()
        heads = frame.keypoints[:, 0]
        distances = np.hypot(*(heads[:, None] - heads[None]).transpose(2, 0, 1)) + 1e9 * np.eye(people)
        heights = np.ptp(frame.keypoints[:, :, 1], axis=1)
        assert people < 2 or distances.min() > 0.5 * heights.max()


def test_people_move_smoothly() -> None:
    scene = Scene(4, 640, 480)
    places = np.stack([scene.render_frame(i).keypoints for i in range(30)])
    steps = np.hypot(*np.moveaxis(np.diff(places, axis=0), -1, 0))
    assert np.median(steps.max(axis=(0, 2))) > 0
    assert steps.max() < 12


def test_the_keypoints_are_on_the_figure() -> None:
    """At every keypoint, the image differs from the same scene without people."""
    with_people, without = Scene(2, 640, 480), Scene(0, 640, 480)
    frame = with_people.render_frame(0)
    difference = np.abs(frame.image.astype(int) - without.render_frame(0).image).sum(axis=2)
    at_keypoints = [difference[int(y), int(x)] for x, y in frame.keypoints.reshape(-1, 2)]
    assert np.mean(np.array(at_keypoints) > 25) > 0.8


def test_the_neck_is_between_the_shoulders_and_left_is_left() -> None:
    keypoints = Scene(1).render_frame(0).keypoints[0]
    np.testing.assert_allclose(keypoints[1], (keypoints[2] + keypoints[5]) / 2, atol=1e-3)
    assert keypoints[5, 0] > keypoints[2, 0]  # the figure faces the camera, so its left side is on the right


@pytest.mark.parametrize("wrong", [{"people": -1}, {"width": 10}, {"height": 0}, {"fps": 0}, {"fps": float("nan")}])
def test_wrong_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected people"):
        Scene(**wrong)  # type: ignore[arg-type]
