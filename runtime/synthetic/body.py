"""A figure that moves: from a moment in time to the exact places of its 18 keypoints.

Body coordinates: the unit is the figure's height, x to the viewer's right, y up from the floor, the figure faces the
viewer. Proportions after the usual drawing canon (seven and a half heads).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]

_UPPER_ARM, _FOREARM, _THIGH, _SHIN = 0.165, 0.15, 0.235, 0.235
_SHOULDER, _HIP, _PELVIS_Y, _NECK_Y = 0.112, 0.068, 0.515, 0.815


@dataclass(frozen=True)
class Motion:
    """How a figure moves: arms that swing between `arm_low` and `arm_high` (radians from hanging), legs that step.

    `rate` in cycles a second, `phase` in radians, `turn` the yaw of the body in radians (0 faces the viewer).
    """

    arm_low: float
    arm_high: float
    elbow: float
    step: float
    rate: float
    phase: float
    turn: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Motion:
        """A motion of its own for one figure."""
        low = rng.uniform(0.15, 0.5)
        return cls(
            arm_low=low,
            arm_high=low + rng.uniform(0.2, 1.6),
            elbow=rng.uniform(0.1, 0.9),
            step=rng.uniform(0.05, 0.25),
            rate=rng.uniform(0.3, 0.7),
            phase=rng.uniform(0, 2 * pi),
            turn=rng.uniform(-0.35, 0.35),
        )


def keypoints(motion: Motion, time_s: float) -> Points:
    """(18, 2) float32: the keypoints in body coordinates at a moment."""
    swing = sin(2 * pi * motion.rate * time_s + motion.phase)
    other = sin(2 * pi * motion.rate * time_s + motion.phase + 0.9)
    bob = 0.012 * abs(swing)
    squeeze = cos(motion.turn)
    body = np.zeros((18, 2), np.float32)
    body[1] = 0, _NECK_Y - bob
    for side, sign, wave in ((2, -1, swing), (5, 1, other)):
        shoulder = np.array((sign * _SHOULDER * squeeze, _NECK_Y - bob))
        angle = motion.arm_low + (motion.arm_high - motion.arm_low) * (0.5 + 0.5 * wave)
        elbow = shoulder + _UPPER_ARM * np.array((sign * sin(angle), -cos(angle)))
        bend = angle + motion.elbow * (0.6 + 0.4 * wave)
        body[side] = shoulder
        body[side + 1] = elbow
        body[side + 2] = elbow + _FOREARM * np.array((sign * sin(bend), -cos(bend)))
    for side, sign in ((8, -1), (11, 1)):
        hip = np.array((sign * _HIP * squeeze, _PELVIS_Y - bob))
        spread = 0.06 + motion.step * max(0.0, sign * swing)
        knee = hip + _THIGH * np.array((sign * sin(spread), -cos(spread)))
        body[side] = hip
        body[side + 1] = knee
        body[side + 2] = knee + _SHIN * np.array((sign * sin(spread * 0.3), -cos(spread * 0.3)))
    _head(body, motion, swing)
    return body


def _head(body: Points, motion: Motion, swing: float) -> None:
    """Nose, eyes and ears around the head's center; the head turns a little with the body and nods."""
    turn = 0.8 * motion.turn
    center = np.array((0.02 * sin(turn) + 0.006 * swing, body[1, 1] + 0.092))
    for part, x, y, depth in ((0, 0, -0.006, 0.052), (14, -0.019, 0.014, 0.043), (15, 0.019, 0.014, 0.043),
                              (16, -0.046, 0.002, 0.0), (17, 0.046, 0.002, 0.0)):  # fmt: skip
        body[part] = center + np.array((x * cos(turn) + depth * sin(turn), y))
