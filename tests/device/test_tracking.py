"""Person tracking and keypoint smoothing, compared with the ground truth of the synthetic scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgepose.device.tracking.one_euro import OneEuroSmoother
from edgepose.device.tracking.tracker import Tracker
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import Pose

pytestmark = pytest.mark.once

FPS = 30.0


def make_poses(keypoints: np.ndarray, rng: np.random.Generator, noise: float = 0.0, missing: float = 0.0) -> list[Pose]:
    """Return the people of the scene as a network finds them: in random order, with noise and missing keypoints."""
    found = []
    for person in keypoints:
        points = np.column_stack((person, np.ones(18))).astype(np.float32)
        points[:, :2] += rng.normal(0, noise, (18, 2))
        points[rng.random(18) < missing, 2] = 0
        points[points[:, 2] == 0] = 0
        found.append(Pose(points, 0.8))
    return found


@pytest.mark.parametrize(("people", "noise", "missing"), [(2, 0.0, 0.0), (5, 2.0, 0.2), (10, 2.0, 0.3)])
def test_every_person_keeps_the_number(people: int, noise: float, missing: float, rng: np.random.Generator) -> None:
    scene, tracker = Scene(people, 640, 480), Tracker()
    owner: dict[int, int] = {}
    switches = 0
    for index in range(120):
        found = make_poses(scene.render_frame(index).keypoints, rng, noise, missing)
        order = rng.permutation(people)
        named = tracker.update([found[i] for i in order], index / FPS)
        for who, pose in zip(order, named, strict=True):
            switches += owner.setdefault(int(who), pose.person) != pose.person
    assert switches == 0
    assert tracker.people_count == people


def test_a_person_keeps_the_number_after_a_short_absence_only(rng: np.random.Generator) -> None:
    scene, tracker = Scene(2, 640, 480), Tracker(max_absence_s=1.0)
    numbers = []
    for index in [*range(10), *range(20, 30), *range(90, 95)]:
        both = make_poses(scene.render_frame(index).keypoints, rng)
        numbers.append(tracker.update(both[:1], index / FPS)[0].person)
    assert set(numbers[:20]) == {1}, "a third of a second away"
    assert set(numbers[20:]) == {2}, "two seconds away"


def test_two_separate_people_have_two_numbers() -> None:
    tracker = Tracker()
    points = np.column_stack((np.random.default_rng(0).uniform(0, 50, (18, 2)), np.ones(18))).astype(np.float32)
    far = points + np.array([300, 0, 0], np.float32)
    assert tracker.update([Pose(points, 1)], 0.0)[0].person == 1
    assert tracker.update([Pose(far, 1)], 0.03)[0].person == 2
    assert tracker.update([], 0.06) == ()


def test_smoothing_reduces_the_noise_of_still_keypoints(rng: np.random.Generator) -> None:
    still = Scene(1, 640, 480).render_frame(0).keypoints
    smoother = OneEuroSmoother()
    raw, smooth = [], []
    for index in range(90):
        pose = replace(make_poses(still, rng, noise=2.0)[0], person=1)
        raw.append(pose.keypoints[:, :2])
        smooth.append(smoother.update([pose], index / FPS)[0].keypoints[:, :2])
    jitter = [float(np.abs(np.diff(np.stack(track[30:]), axis=0)).mean()) for track in (raw, smooth)]
    assert jitter[1] < 0.35 * jitter[0]


def test_moving_keypoints_have_little_lag(rng: np.random.Generator) -> None:
    """The arms in the scene swing. The smoothed positions are within a few pixels of the true ones."""
    scene, smoother = Scene(1, 640, 480), OneEuroSmoother()
    errors, speeds = [], []
    before = None
    for index in range(120):
        truth = scene.render_frame(index).keypoints
        pose = smoother.update([replace(make_poses(truth, rng)[0], person=1)], index / FPS)[0]
        errors.append(np.linalg.norm(pose.keypoints[:, :2] - truth[0], axis=1))
        if before is not None:
            speeds.append(np.linalg.norm(truth[0] - before, axis=1))
        before = truth[0]
    lag_frames = float(np.mean(errors[30:]) / np.mean(speeds[30:]))
    assert lag_frames < 2.5
    assert float(np.percentile(np.concatenate(errors[30:]), 95)) < 8


def test_a_keypoint_that_reappears_is_not_smoothed(rng: np.random.Generator) -> None:
    smoother = OneEuroSmoother()
    pose = replace(make_poses(Scene(1, 640, 480).render_frame(0).keypoints, rng)[0], person=7)
    hidden = replace(pose, keypoints=pose.keypoints.copy())
    hidden.keypoints[4] = 0
    moved = replace(pose, keypoints=pose.keypoints.copy())
    moved.keypoints[4, :2] += 100
    smoother.update([pose], 0.0)
    assert smoother.update([hidden], 0.1)[0].keypoints[4, 2] == 0
    np.testing.assert_array_equal(smoother.update([moved], 0.2)[0].keypoints[4], moved.keypoints[4])


def test_constant_or_decreasing_times_are_handled(rng: np.random.Generator) -> None:
    tracker, smoother = Tracker(), OneEuroSmoother()
    people = Scene(2, 640, 480).render_frame(0).keypoints
    for time_s in (1.0, 1.0, 0.5, 2.0):
        for pose in smoother.update(tracker.update(make_poses(people, rng), time_s), time_s):
            assert np.isfinite(pose.keypoints).all()
            assert pose.person > 0


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="minimum OKS"):
        Tracker(min_oks=0)
    with pytest.raises(ValueError, match="cutoff frequencies"):
        OneEuroSmoother(min_cutoff_hz=0)
