"""People who walk in the image plane, with noise and missing keypoints, for tests of zones and lines."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgepose.device.events.engine import EventEngine
from edgepose.device.events.event import Event
from edgepose.device.tracking.one_euro import OneEuroSmoother
from edgepose.device.tracking.tracker import Tracker
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.types import Pose

FRAME = (640, 480)
_BODY = {
    "nose": (0.0, -0.88), "neck": (0.0, -0.8), "right_shoulder": (-0.1, -0.8), "left_shoulder": (0.1, -0.8),
    "right_elbow": (-0.13, -0.63), "left_elbow": (0.13, -0.63), "right_wrist": (-0.13, -0.48),
    "left_wrist": (0.13, -0.48), "right_hip": (-0.07, -0.5), "left_hip": (0.07, -0.5), "right_knee": (-0.07, -0.26),
    "left_knee": (0.07, -0.26), "right_ankle": (-0.07, 0.0), "left_ankle": (0.07, 0.0), "right_eye": (-0.03, -0.9),
    "left_eye": (0.03, -0.9), "right_ear": (-0.06, -0.88), "left_ear": (0.06, -0.88),
}  # fmt: skip
BODY = np.array([_BODY[name] for name in COCO18.keypoints])
RIGHT_ANKLE, LEFT_ANKLE = COCO18.index("right_ankle"), COCO18.index("left_ankle")
RIGHT_KNEE, LEFT_KNEE = COCO18.index("right_knee"), COCO18.index("left_knee")

Way = Callable[[float], tuple[float, float] | None]
"""Where the feet of a person are at a time; None: not in the frame."""


def make_pose(feet: tuple[float, float], height: float = 200.0, person: int = 0, stride: float = 0.0) -> Pose:
    """Return a standing person; `stride` moves the ankles apart, as a share of the height."""
    points = BODY.copy()
    for index, share in ((RIGHT_ANKLE, 1.0), (LEFT_ANKLE, -1.0), (RIGHT_KNEE, 0.5), (LEFT_KNEE, -0.5)):
        points[index, 0] += share * stride
    keypoints = np.ones((len(points), 3), np.float32)
    keypoints[:, :2] = points * height + feet
    return Pose(keypoints, 0.8, person)


def spoil(pose: Pose, rng: np.random.Generator, missing: float, noise_px: float) -> Pose:
    """Add noise to the keypoints, and remove some of them."""
    keypoints = pose.keypoints.copy()
    keypoints[:, :2] += rng.normal(0, noise_px, (len(keypoints), 2))
    keypoints[rng.random(len(keypoints)) < missing] = 0
    return Pose(keypoints, pose.score, pose.person)


def play(
    ways: Sequence[Way],
    *,
    seconds: float,
    fps: float = 12.0,
    height: float = 200.0,
    missing: float = 0.0,
    noise_px: float = 0.0,
    seed: int = 0,
) -> Iterator[tuple[float, tuple[Pose, ...]]]:
    """Play people who walk; yield the time and the tracked and smoothed poses, as the camera loop makes them."""
    rng = np.random.default_rng(seed)
    tracker, smoother = Tracker(), OneEuroSmoother()
    for frame in range(int(seconds * fps)):
        time_s = frame / fps
        places = [place for way in ways if (place := way(time_s)) is not None]
        poses = [
            spoil(make_pose(place, height, 0, 0.12 * math.sin(7 * time_s)), rng, missing, noise_px) for place in places
        ]
        poses = [pose for pose in poses if (pose.keypoints[:, 2] > 0).sum() >= 3]
        yield time_s, smoother.update(tracker.update(poses, time_s), time_s)


def run(engine: EventEngine, frames: Iterator[tuple[float, tuple[Pose, ...]]]) -> list[Event]:
    """Return the events of all frames, and of the end."""
    events = [event for time_s, poses in frames for event in engine.update(poses, time_s, FRAME)]
    return events + list(engine.finish())


def make_random_way(rng: random.Random, seconds: float, speed: tuple[float, float] = (60.0, 300.0)) -> Way:
    """Return a way between random places, with stops."""
    place = (rng.uniform(30, 610), rng.uniform(220, 470))
    times, places, time_s = [0.0], [place], 0.0
    while time_s < seconds:
        target = (rng.uniform(30, 610), rng.uniform(220, 470))
        time_s += max(0.3, math.dist(place, target) / rng.uniform(*speed))
        times.append(time_s)
        places.append(target)
        time_s += rng.uniform(0.2, 2.0)
        times.append(time_s)
        places.append(target)
        place = target

    def locate(at_s: float) -> tuple[float, float]:
        return (
            float(np.interp(at_s, times, [x for x, _ in places])),
            float(np.interp(at_s, times, [y for _, y in places])),
        )

    return locate
