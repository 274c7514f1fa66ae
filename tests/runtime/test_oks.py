"""Object keypoint similarity against the formula worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.runtime import COCO18, Pose
from edgepose.runtime.oks import matched, oks, sigmas

pytestmark = pytest.mark.once

SPREAD = sigmas(COCO18.keypoints)


def pose() -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.column_stack((rng.uniform(0, 100, (18, 2)), np.ones(18))).astype(np.float32)


def test_a_pose_is_like_itself() -> None:
    assert oks(pose(), pose(), SPREAD) == 1


def test_the_formula() -> None:
    truth = pose()
    moved = truth.copy()
    moved[:, 0] += 3
    area = 0.53 * np.prod(np.ptp(truth[:, :2], axis=0))
    expected = np.exp(-9 / (2 * area * (2 * SPREAD) ** 2)).mean()
    assert oks(truth, moved, SPREAD) == pytest.approx(expected, rel=1e-5)


def test_what_is_missing_counts_as_nothing_and_what_is_more_does_not_count() -> None:
    fewer = pose()
    fewer[:9] = 0
    assert oks(pose(), fewer, SPREAD) == 0.5
    assert oks(fewer, pose(), SPREAD) == 1


def test_spreads_are_cocos() -> None:
    by_name = dict(zip(COCO18.keypoints, SPREAD, strict=True))
    assert (by_name["nose"], by_name["left_eye"], by_name["right_hip"], by_name["left_ankle"]) == (
        0.026,
        0.025,
        0.107,
        0.089,
    )


def test_matching_counts_people_with_enough_keypoints() -> None:
    small = pose()
    small[4:] = 0
    people = [Pose(pose(), 1.0), Pose(small, 1.0)]
    assert matched(people, people[:1], SPREAD, least=0.85, min_keypoints=5) == (1, 1)
    assert matched(people, [], SPREAD, least=0.85, min_keypoints=3) == (0, 2)
