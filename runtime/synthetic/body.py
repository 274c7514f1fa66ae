"""Motion model of a synthetic person: the positions of its 18 keypoints (COCO18) at a time.

Body coordinates: the unit is the person's height, x points to the viewer's right, y up from the floor; the person faces
the viewer. The proportions follow the usual rule for figure drawing: the body is seven and a half heads high.
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
    """Motion of one person: swinging arms and stepping legs.

    Attributes:
        arm_low: Smallest angle between the upper arm and straight down, in radians.
        arm_high: Largest angle between the upper arm and straight down, in radians.
        elbow: Largest bend of the elbow in radians; it varies between 20 % and 100 % of this value.
        step: Largest angle by which a thigh swings out, in radians.
        rate: Cycles per second.
        phase: Phase of the cycle at time 0, in radians.
        turn: Yaw of the body in radians; 0 faces the viewer.
    """

    arm_low: float
    arm_high: float
    elbow: float
    step: float
    rate: float
    phase: float
    turn: float

    @classmethod
    def create_random(cls, rng: np.random.Generator) -> Motion:
        """Draw a random motion."""
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


def compute_keypoints(motion: Motion, time_s: float) -> Points:
    """Compute the keypoints at a time, in body coordinates: (18, 2) float32."""
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
    _set_head_keypoints(body, motion, swing)
    return body


def _set_head_keypoints(body: Points, motion: Motion, swing: float) -> None:
    """Set nose, eyes and ears. The head turns by 0.8 of the body's yaw and sways with the arms."""
    turn = 0.8 * motion.turn
    center = np.array((0.02 * sin(turn) + 0.006 * swing, body[1, 1] + 0.092))
    for keypoint, x, y, depth in ((0, 0, -0.006, 0.052), (14, -0.019, 0.014, 0.043), (15, 0.019, 0.014, 0.043),
                              (16, -0.046, 0.002, 0.0), (17, 0.046, 0.002, 0.0)):  # fmt: skip
        body[keypoint] = center + np.array((x * cos(turn) + depth * sin(turn), y))
