"""Three-dimensional body of a synthetic person: stances, and the positions of the 18 keypoints (COCO18) in meters.

A stance says how the trunk leans and into which direction each limb points. Body axes: x forward, y to the person's
left, z up. Limbs keep their lengths in every stance, and the body rests on the floor, whatever is lowest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, sin

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_LIMBS = ("upper_arm_r", "forearm_r", "upper_arm_l", "forearm_l", "thigh_r", "shin_r", "thigh_l", "shin_l")
_ANGLES = ("pitch", "roll", "lift", "feet", "nod")
_CLEARANCE = np.array((0.1, 0.07, 0.08, 0.05, 0.04, 0.08, 0.05, 0.04, 0.1, 0.06, 0.07, 0.1, 0.06, 0.07, 0.1, 0.1, 0.09,
                       0.09))  # fmt: skip
"""Distance in meters from each keypoint to the surface of the body."""


@dataclass(frozen=True)
class Proportions:
    """Lengths of a body as shares of its height. The default is that of the flat figures in `body`.

    Attributes:
        height: Height in meters.
        upper_arm, forearm, thigh, shin: Lengths of the limbs.
        shoulder, hip: Half of the distance between the shoulders, and between the hips.
        torso: Distance from the hips to the shoulders.
    """

    height: float = 1.7
    upper_arm: float = 0.165
    forearm: float = 0.15
    thigh: float = 0.235
    shin: float = 0.235
    shoulder: float = 0.112
    hip: float = 0.068
    torso: float = 0.3

    @classmethod
    def create_random(cls, rng: np.random.Generator) -> Proportions:
        """Draw the proportions of a person: height 1.5 to 1.9 m, each length within 8 % of the default."""
        lengths = ("upper_arm", "forearm", "thigh", "shin", "shoulder", "hip", "torso")
        return cls(float(rng.uniform(1.5, 1.9)), **{name: getattr(cls, name) * float(rng.uniform(0.92, 1.08))
                                                    for name in lengths})  # fmt: skip


@dataclass(frozen=True)
class Stance:
    """A stance of the body.

    Attributes:
        pitch: Angle by which the trunk leans forward, in radians; negative: backward.
        roll: Angle by which the trunk leans to the person's left, in radians.
        lift: Height in meters of what the body rests on, such as a bed.
        feet: 1 if the feet stay in place when the stance changes, 0 if the hips stay.
        nod: Angle by which the head leans forward, in radians.
        limbs: Direction of each limb in body axes, not normalized, by names such as `upper_arm_r` and `shin_l`.
    """

    pitch: float = 0.0
    roll: float = 0.0
    lift: float = 0.0
    feet: float = 1.0
    nod: float = 0.0
    limbs: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def pack(self) -> Vector:
        """Return the stance as numbers that can be interpolated."""
        directions = [_normalize(np.array(self.limbs.get(name) or _hang(name), float)) for name in _LIMBS]
        return np.concatenate(([getattr(self, name) for name in _ANGLES], *directions))


def pose_body(packed: Vector, body: Proportions, yaw: float, head_turn: float = 0.0) -> tuple[Vector, Vector]:
    """Compute the keypoints of a stance.

    Args:
        packed: Numbers from `Stance.pack`, or an interpolation of two of them.
        body: The proportions.
        yaw: Direction in which the person faces, in radians, counterclockwise seen from above; 0 is the world's x axis.
        head_turn: Yaw of the head relative to the trunk.

    Returns:
        The keypoints (18, 3) in meters, with the anchor (`Stance.feet`) at x = y = 0 and the floor at z = 0; and the
        direction of the face (3,).
    """
    pitch, roll, lift, feet, nod = packed[:5]
    trunk = _rotate_z(yaw) @ _rotate_x(-roll) @ _rotate_y(pitch)
    head = trunk @ _rotate_z(head_turn) @ _rotate_y(nod)
    directions = {name: trunk @ _normalize(packed[5 + 3 * i : 8 + 3 * i]) for i, name in enumerate(_LIMBS)}
    points = np.zeros((18, 3))
    points[1] = trunk[:, 2] * body.torso
    for side, sign, shoulder, hip in (("r", -1, 2, 8), ("l", 1, 5, 11)):
        points[shoulder] = points[1] + trunk[:, 1] * sign * body.shoulder
        points[shoulder + 1] = points[shoulder] + directions[f"upper_arm_{side}"] * body.upper_arm
        points[shoulder + 2] = points[shoulder + 1] + directions[f"forearm_{side}"] * body.forearm
        points[hip] = trunk[:, 1] * sign * body.hip
        points[hip + 1] = points[hip] + directions[f"thigh_{side}"] * body.thigh
        points[hip + 2] = points[hip + 1] + directions[f"shin_{side}"] * body.shin
    for keypoint, place in ((0, (0.052, 0, 0.086)), (14, (0.043, -0.019, 0.106)), (15, (0.043, 0.019, 0.106)),
                            (16, (0, -0.046, 0.094)), (17, (0, 0.046, 0.094))):  # fmt: skip
        points[keypoint] = points[1] + head @ np.array(place)
    points *= body.height
    points[:, 2] += lift + (_CLEARANCE * body.height / 1.7 - points[:, 2]).max()
    anchor = feet * (points[10] + points[13]) / 2 + (1 - feet) * (points[8] + points[11]) / 2
    points[:, :2] -= anchor[:2]
    return points, head[:, 0]


def _hang(limb: str) -> tuple[float, float, float]:
    """Return the direction of a limb of a person who stands."""
    side = 1 if limb.endswith("l") else -1
    return {"upper_arm": (0.05, 0.15 * side, -1), "forearm": (0.2, 0.03 * side, -1), "thigh": (0.02, 0.05 * side, -1),
            "shin": (-0.02, 0.0, -1)}[limb[:-2]]  # fmt: skip


def _normalize(vector: Vector) -> Vector:
    return np.asarray(vector / max(1e-9, float(np.linalg.norm(vector))))


def _rotate_x(angle: float) -> Vector:
    return np.array(((1, 0, 0), (0, cos(angle), -sin(angle)), (0, sin(angle), cos(angle))))


def _rotate_y(angle: float) -> Vector:
    return np.array(((cos(angle), 0, sin(angle)), (0, 1, 0), (-sin(angle), 0, cos(angle))))


def _rotate_z(angle: float) -> Vector:
    return np.array(((cos(angle), -sin(angle), 0), (sin(angle), cos(angle), 0), (0, 0, 1)))
