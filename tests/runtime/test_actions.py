"""Synthetic people who act: bodies keep their shape, stand on the floor, and do what the truth says."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.benchmarks.micro.events import SCRIPTS
from edgepose.runtime.synthetic.actions import Actor, observe
from edgepose.runtime.synthetic.drawing import draw_actor
from edgepose.runtime.synthetic.figure import Appearance
from edgepose.runtime.synthetic.pinhole import PinholeCamera

pytestmark = pytest.mark.once

LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13), (1, 0), (2, 5), (8, 11))


@pytest.mark.parametrize("name", SCRIPTS)
def test_limbs_keep_their_lengths_and_nobody_sinks_into_the_floor(name: str) -> None:
    actor = Actor(np.random.default_rng(1), (4, 0), 120)
    SCRIPTS[name](actor)
    lengths = []
    for time_s in np.arange(0, actor.end_s, 0.2):
        points, face = actor.get_points(float(time_s))
        assert points[:, 2].min() > 0.02
        assert np.linalg.norm(face) == pytest.approx(1)
        lengths.append([np.linalg.norm(points[a] - points[b]) for a, b in LIMBS])
    assert np.ptp(lengths, axis=0).max() < 1e-9


def test_the_truth_of_a_fall() -> None:
    actor = Actor(np.random.default_rng(1), (4, 0), 120)
    SCRIPTS["fall backward"](actor)
    assert [one.name for one in actor.truth] == ["standing", "lying", "fall", "standing"]
    fall = actor.truth[2]
    assert actor.get_points(fall.start_s)[0][1, 2] > 1.1
    assert actor.get_points(fall.end_s - 1)[0][1, 2] < 0.4


def test_the_camera_projects_meters_to_pixels() -> None:
    camera = PinholeCamera(height_m=2.0, pitch=0.0)
    image, is_inside = camera.project(np.array([[4.0, 0.0, 2.0], [4.0, 1.0, 2.0], [-4.0, 0.0, 2.0], [1.0, 5.0, 2.0]]))
    assert image[0] == pytest.approx((320, 240))
    assert image[1, 0] < 320
    assert is_inside.tolist() == [True, True, False, False]
    aimed = camera.aim(4.0, target_m=2.0 - 4.0 * np.tan(np.radians(30)))
    assert aimed.pitch == pytest.approx(30)


def test_observations_have_noise_and_gaps() -> None:
    actor, camera, rng = Actor(np.random.default_rng(1), (4, 0), 180), PinholeCamera().aim(4), np.random.default_rng(0)
    actor.stand(1)
    assert (observe(actor, camera, 0.5, rng)[:, 2] > 0).all()
    missing = np.mean([(observe(actor, camera, 0.5, rng, 2, 0.3)[:, 2] == 0).mean() for _ in range(200)])
    assert missing == pytest.approx(0.3, abs=0.03)
    behind = Actor(np.random.default_rng(1), (4, 0), 0)
    behind.stand(1)
    assert not observe(behind, camera, 0.5, rng)[[0, 14, 15], 2].any()


def test_people_are_drawn_where_their_keypoints_are() -> None:
    actor, camera = Actor(np.random.default_rng(1), (4, 0), 100), PinholeCamera().aim(4)
    SCRIPTS["fall right"](actor)
    for time_s in (1.0, actor.truth[1].end_s - 1):
        points, _ = camera.project(actor.get_points(time_s)[0])
        canvas = np.full((480, 640, 3), 128, np.uint8)
        draw_actor(canvas, points, Appearance.create_random(np.random.default_rng(0)))
        is_drawn = (canvas != 128).any(axis=2)
        rows, columns = np.nonzero(is_drawn)
        for x, y in points[[4, 7, 10, 13]]:
            assert np.hypot(columns - x, rows - y).min() < 4
        assert 0.005 < is_drawn.mean() < 0.05
