"""Object keypoint similarity (OKS), compared with results of the formula computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.runtime import COCO18, Pose
from edgepose.runtime.oks import compute_oks, count_matches, get_sigmas

pytestmark = pytest.mark.once

SPREAD = get_sigmas(COCO18)


def make_pose() -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.column_stack((rng.uniform(0, 100, (18, 2)), np.ones(18))).astype(np.float32)


def test_oks_of_equal_poses_is_1() -> None:
    assert compute_oks(make_pose(), make_pose(), SPREAD) == 1


def test_oks_matches_the_formula() -> None:
    truth = make_pose()
    moved = truth.copy()
    moved[:, 0] += 3
    area = 0.53 * np.prod(np.ptp(truth[:, :2], axis=0))
    expected = np.exp(-9 / (2 * area * (2 * SPREAD) ** 2)).mean()
    assert compute_oks(truth, moved, SPREAD) == pytest.approx(expected, rel=1e-5)


def test_missing_keypoints_count_0_and_extra_ones_are_ignored() -> None:
    fewer = make_pose()
    fewer[:9] = 0
    assert compute_oks(make_pose(), fewer, SPREAD) == 0.5
    assert compute_oks(fewer, make_pose(), SPREAD) == 1


def test_sigmas_are_those_of_coco() -> None:
    by_name = dict(zip(COCO18.keypoints, SPREAD, strict=True))
    assert (by_name["nose"], by_name["left_eye"], by_name["right_hip"], by_name["left_ankle"]) == (
        0.026,
        0.025,
        0.107,
        0.089,
    )


def test_matching_counts_people_with_enough_keypoints() -> None:
    small = make_pose()
    small[4:] = 0
    people = [Pose(make_pose(), 1.0), Pose(small, 1.0)]
    assert count_matches(people, people[:1], SPREAD, min_oks=0.85, min_keypoints=5) == (1, 1)
    assert count_matches(people, [], SPREAD, min_oks=0.85, min_keypoints=3) == (0, 2)
