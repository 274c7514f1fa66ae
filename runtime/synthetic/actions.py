"""Synthetic people who act: walk, sit down, lie down, fall, squat, do push-ups; with the exact truth.

>>> actor = Actor(np.random.default_rng(0), position=(4, 0), heading=90)
>>> actor.stand(2); actor.fall("forward"); actor.lie(8)
>>> points, face = actor.get_points(3.2)  # (18, 3) in meters
>>> actor.truth
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import atan2, cos, hypot, pi, radians, sin
from typing import Literal

import numpy as np
import numpy.typing as npt

from .pinhole import PinholeCamera
from .stance import Proportions, Stance, Vector, pose_body

FallDirection = Literal["forward", "backward", "left", "right", "collapse"]
Side = Literal["left", "right", "both"]
_Limbs = dict[str, tuple[float, float, float]]

_WALKING_SPEED_M_S = 1.1
_STEP_RATE_HZ = 0.9
_BED_M = 0.42


def _both(name: str, x: float, out: float, z: float) -> _Limbs:
    """Return the same direction for both sides; `out` points away from the body."""
    return {f"{name}_r": (x, -out, z), f"{name}_l": (x, out, z)}


def _lean(pitch: float, limbs: _Limbs, nod: float = 0.0) -> Stance:
    """Return a stance with a trunk that leans forward, and limbs whose directions do not lean with it."""
    turned = {name: (x * cos(pitch) - z * sin(pitch), y, x * sin(pitch) + z * cos(pitch))
              for name, (x, y, z) in limbs.items()}  # fmt: skip
    return Stance(pitch, nod=nod, limbs=turned)


STANDING = Stance()
SITTING = _lean(0.05, _both("thigh", 1, 0.15, -0.05) | _both("shin", -0.05, 0, -1) | _both("upper_arm", 0.25, 0.15, -1)
                | _both("forearm", 1, -0.1, -0.15))  # fmt: skip
CROUCHING = _lean(0.55, _both("thigh", 0.75, 0.25, 0.45) | _both("shin", -0.35, 0, -1)
                  | _both("upper_arm", 0.6, 0.1, -0.6) | _both("forearm", 0.6, -0.2, -0.5))  # fmt: skip
KNEELING = _lean(
    0.7,
    {"thigh_r": (0.0, -0.1, -1), "shin_r": (-1, 0, -0.1), "thigh_l": (1, 0.1, 0.0), "shin_l": (-0.05, 0, -1)}
    | _both("upper_arm", 0.7, 0.0, -0.8) | _both("forearm", 0.7, -0.1, -0.7),
)  # fmt: skip
BENDING = _lean(1.35, _both("thigh", 0.05, 0.05, -1) | _both("shin", 0, 0, -1) | _both("upper_arm", 0.1, 0.1, -1)
                | _both("forearm", 0.1, 0, -1))  # fmt: skip
ALL_FOURS = _lean(1.4, _both("thigh", 0, 0.05, -1) | _both("shin", -1, 0, -0.1) | _both("upper_arm", 0.05, 0.1, -1)
                  | _both("forearm", 0, 0, -1))  # fmt: skip
SQUAT = _lean(0.65, _both("thigh", 1, 0.25, -0.12) | _both("shin", -0.45, 0, -1) | _both("upper_arm", 1, 0.05, -0.15)
              | _both("forearm", 1, -0.05, -0.1))  # fmt: skip
PUSH_UP_HIGH = _lean(1.22, _both("thigh", -cos(0.35), 0.05, -sin(0.35)) | _both("shin", -cos(0.35), 0, -sin(0.35))
                     | _both("upper_arm", 0.05, 0.15, -1) | _both("forearm", -0.05, 0, -1), nod=-0.5)  # fmt: skip
PUSH_UP_LOW = _lean(1.5, _both("thigh", -1, 0.05, -0.08) | _both("shin", -1, 0, -0.08)
                    | _both("upper_arm", -0.75, 0.6, 0.1) | _both("forearm", 0.15, -0.1, -1), nod=-0.4)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A part of the truth.

    Attributes:
        name: `standing`, `sitting`, `crouching`, `lying`, `walking`; `fall`, `hand_raised`, `arms_crossed`, `squat`,
            `push_up`, `curl`.
        start_s: Begin.
        end_s: End.
    """

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class _Part:
    """What happens between two times: the stance changes from one to the other, or the person walks."""

    start_s: float
    end_s: float
    before: Vector
    after: Vector
    ease: Literal["smooth", "fall"] = "smooth"
    origin: tuple[float, float] = (0, 0)
    destination: tuple[float, float] = (0, 0)
    heading: float = 0.0
    turn: float = 0.0
    is_walk: bool = False


class Actor:
    """A person with a script. Each method appends an action to the script; `get_points` gives the body at a time."""

    def __init__(
        self, rng: np.random.Generator, position: tuple[float, float] = (4.0, 0.0), heading: float = 180.0
    ) -> None:
        """Create a person without a script.

        Args:
            rng: Source of everything that differs between people.
            position: x (away from the camera) and y (to its left) on the floor in meters.
            heading: Direction in which the person faces, in degrees; 180 looks at a camera that looks along x.
        """
        self.body = Proportions.create_random(rng)
        self.truth: list[Interval] = []
        self.end_s = 0.0
        self._rng, self.position, self._heading = rng, position, radians(heading)
        self._stance = self._vary(STANDING)
        self._posture = "standing"
        self._parts: list[_Part] = []
        self._tremor = rng.uniform(0, 2 * pi, 8)
        self._head_turn = float(rng.uniform(0.1, 0.4))

    def get_points(self, time_s: float) -> tuple[Vector, Vector]:
        """Return the keypoints (18, 3) in meters, and the direction of the face (3,), at a time."""
        part = self._find_part(time_s)
        progress = min(1.0, max(0.0, (time_s - part.start_s) / max(1e-6, part.end_s - part.start_s)))
        eased = progress**2 if part.ease == "fall" else progress * progress * (3 - 2 * progress)
        packed = part.before + (part.after - part.before) * eased
        if part.is_walk:
            packed = _step(packed, 2 * pi * _STEP_RATE_HZ * (time_s - part.start_s))
        waves = np.sin(2 * pi * np.array((0.11, 0.23, 0.31, 0.17, 0.29, 0.37, 0.19, 0.41)) * time_s + self._tremor)
        packed = packed.copy()
        packed[:2] += 0.02 * waves[:2]
        packed[5:17] += 0.03 * np.repeat(waves[2:6], 3)
        heading = part.heading + part.turn * eased + 0.03 * waves[6]
        points, face = pose_body(packed, self.body, heading, self._head_turn * waves[7])
        way = progress if part.is_walk else eased
        points[:, 0] += part.origin[0] + (part.destination[0] - part.origin[0]) * way
        points[:, 1] += part.origin[1] + (part.destination[1] - part.origin[1]) * way
        return points, face

    def stand(self, seconds: float) -> None:
        """Stand still."""
        self._hold("standing", seconds, STANDING)

    def sit_down(self, seconds: float, change_s: float | None = None) -> None:
        """Sit down on a chair, and stay."""
        self._hold("sitting", seconds, SITTING, change_s or float(self._rng.uniform(1.0, 1.8)))

    def crouch(self, seconds: float) -> None:
        """Crouch down, and stay."""
        self._hold("crouching", seconds, CROUCHING, float(self._rng.uniform(0.9, 1.5)))

    def kneel(self, seconds: float) -> None:
        """Kneel on one knee, as to tie a shoe."""
        self._hold("kneeling", seconds, KNEELING, float(self._rng.uniform(1.0, 1.6)))

    def bend(self, seconds: float) -> None:
        """Bend down to the floor with straight legs, and stay."""
        self._hold("bending", seconds, BENDING, float(self._rng.uniform(0.8, 1.4)))

    def lie_down(self, seconds: float, bed: bool = True) -> None:
        """Lie down slowly, and stay: on a bed by sitting on it first, on the floor on hands and knees first."""
        if bed:
            self.sit_down(float(self._rng.uniform(1.0, 2.0)))
        else:
            self._hold("", 0.3, KNEELING, float(self._rng.uniform(1.2, 1.8)))
            self._hold("", 0.3, ALL_FOURS, float(self._rng.uniform(0.8, 1.4)))
        kind: FallDirection = self._rng.choice(["backward", "left", "right"]) if bed else "forward"
        stance = replace(_make_lying(kind, self._rng), feet=0.0, lift=_BED_M if bed else 0.0)
        self._hold("lying", seconds, stance, float(self._rng.uniform(1.8, 3.0)))

    def fall(self, direction: FallDirection, seconds: float) -> None:
        """Fall to the floor within 0.7 to 1.1 seconds, a collapse within 1 to 1.6, and stay."""
        start_s, stance = self.end_s, self._vary(_make_lying(direction, self._rng))
        if direction == "collapse":
            half_s = float(self._rng.uniform(0.5, 0.8))
            self._change(self._vary(CROUCHING), half_s, "fall")
            self._change(stance, half_s, "fall")
        else:
            self._change(stance, float(self._rng.uniform(0.7, 1.1)), "fall")
        self._posture = "lying"
        self._mark("lying", seconds)
        self.truth.append(Interval("fall", start_s, self.end_s))

    def get_up(self) -> None:
        """Stand up from the floor, a bed or a chair."""
        if abs(self._stance[0]) > 1 or abs(self._stance[1]) > 1:
            self._change(self._vary(KNEELING), float(self._rng.uniform(1.5, 2.5)))
        self._change(self._vary(STANDING), float(self._rng.uniform(1.0, 1.8)))
        self._posture = "standing"

    def squat(self, count: int) -> None:
        """Do squats."""
        self._repeat("squat", count, STANDING, SQUAT, (0.7, 1.3))

    def push_up(self, count: int) -> None:
        """Get down to the floor, do push-ups, and get up."""
        self._change(self._vary(ALL_FOURS), 1.8)
        self._change(self._vary(PUSH_UP_HIGH), 1.0)
        self._mark("", 0.5)
        self._repeat("push_up", count, PUSH_UP_HIGH, PUSH_UP_LOW, (0.5, 1.1))
        self._change(self._vary(ALL_FOURS), 1.0)
        self.get_up()

    def curl(self, count: int, side: Side) -> None:
        """Bend and stretch the elbows."""
        limbs: _Limbs = {}
        for letter, out in _get_sides(side):
            limbs |= {f"upper_arm_{letter}": (0.12, 0.12 * out, -1), f"forearm_{letter}": (0.55, 0.1 * out, 0.9)}
        self._repeat("curl", count, STANDING, Stance(limbs=limbs), (0.6, 1.2))

    def raise_hand(self, seconds: float, side: Side = "right") -> None:
        """Raise a hand above the head, and lower it after some time."""
        limbs: _Limbs = {}
        for letter, out in _get_sides(side):
            limbs |= {f"upper_arm_{letter}": (0.25, 0.35 * out, 0.9), f"forearm_{letter}": (0.1, -0.1 * out, 1)}
        self._gesture("hand_raised", seconds, Stance(limbs=limbs))

    def cross_arms(self, seconds: float) -> None:
        """Cross the arms in front of the chest."""
        limbs = {"upper_arm_r": (0.35, 0.12, -1.0), "forearm_r": (0.3, 0.95, 0.25),
                 "upper_arm_l": (0.4, -0.12, -1.0), "forearm_l": (0.2, -0.95, 0.15)}  # fmt: skip
        self._gesture("arms_crossed", seconds, Stance(limbs=limbs))

    def talk(self, seconds: float) -> None:
        """Talk with the hands: forearms move between hips and shoulders."""
        end_s, base = self.end_s + seconds, self._stance
        start_s = self.end_s
        while self.end_s < end_s:
            target = base.copy()
            for i, letter in ((0, "r"), (6, "l")):
                out = 1 if letter == "l" else -1
                target[5 + i : 8 + i] += self._rng.uniform(-0.3, 0.5), out * self._rng.uniform(0, 0.4), 0.2
                target[8 + i : 11 + i] = (self._rng.uniform(0.4, 1), out * self._rng.uniform(-0.4, 0.4),
                                          self._rng.uniform(-0.8, 0.3))  # fmt: skip
            self._change(target, float(self._rng.uniform(0.4, 1.2)))
        self._change(base, 0.8)
        self.truth.append(Interval(self._posture, start_s, self.end_s))

    def walk_to(self, position: tuple[float, float], speed: float = _WALKING_SPEED_M_S) -> None:
        """Turn, and walk to a place on the floor."""
        way = position[0] - self.position[0], position[1] - self.position[1]
        distance = hypot(*way)
        if distance < 0.05:
            return
        self.turn_to(atan2(way[1], way[0]) * 180 / pi)
        start_s, self.end_s = self.end_s, self.end_s + distance / speed
        stance = self._vary(STANDING)
        self._parts.append(_Part(start_s, self.end_s, self._stance, stance, origin=self.position,
                                 destination=position, heading=self._heading, is_walk=True))  # fmt: skip
        self.position, self._stance = position, stance
        self.truth.append(Interval("walking", start_s, self.end_s))

    def turn_to(self, heading: float) -> None:
        """Turn on the spot; degrees."""
        turn = (radians(heading) - self._heading + pi) % (2 * pi) - pi
        seconds = 0.3 + 0.4 * abs(turn)
        self._parts.append(_Part(self.end_s, self.end_s + seconds, self._stance, self._stance, origin=self.position,
                                 destination=self.position, heading=self._heading, turn=turn))  # fmt: skip
        self.end_s += seconds
        self._heading += turn

    def _hold(self, name: str, seconds: float, stance: Stance, change_s: float = 0.8) -> None:
        self._change(self._vary(stance), change_s)
        self._posture = name
        self._mark(name, seconds)

    def _gesture(self, name: str, seconds: float, stance: Stance) -> None:
        before, start_s = self._stance, self.end_s
        target = self._vary(stance)
        target[:5], target[17:] = before[:5], before[17:]
        self._change(target, float(self._rng.uniform(0.5, 0.9)))
        self._mark(name, seconds)
        self._change(before, float(self._rng.uniform(0.5, 0.9)))
        self.truth.append(Interval(self._posture, start_s, self.end_s))

    def _repeat(self, name: str, count: int, high: Stance, low: Stance, seconds: tuple[float, float]) -> None:
        for _ in range(count):
            start_s = self.end_s
            for stance in (low, high):
                self._change(self._vary(stance, 0.04), float(self._rng.uniform(*seconds)))
                self._mark("", float(self._rng.uniform(0.05, 0.4)))
            self.truth.append(Interval(name, start_s, self.end_s))
            if name == "curl":
                self.truth.append(Interval(self._posture, start_s, self.end_s))

    def _change(self, stance: Vector, seconds: float, ease: Literal["smooth", "fall"] = "smooth") -> None:
        self._parts.append(_Part(self.end_s, self.end_s + seconds, self._stance, stance, ease, self.position,
                                 self.position, self._heading))  # fmt: skip
        self._stance = stance
        self.end_s += seconds

    def _mark(self, name: str, seconds: float) -> None:
        """Keep the stance, and note its name."""
        start_s = self.end_s
        self._change(self._stance, seconds)
        if name:
            self.truth.append(Interval(name, start_s, self.end_s))

    def _vary(self, stance: Stance, amount: float = 0.06) -> Vector:
        packed = stance.pack()
        packed[:2] += self._rng.normal(0, 0.5 * amount, 2)
        packed[5:] += self._rng.normal(0, amount, len(packed) - 5)
        return packed

    def _find_part(self, time_s: float) -> _Part:
        for part in reversed(self._parts):
            if time_s >= part.start_s:
                return part
        if self._parts:
            return self._parts[0]
        return _Part(0, 1, self._stance, self._stance, origin=self.position, destination=self.position,
                     heading=self._heading)  # fmt: skip


def _get_sides(side: Side) -> tuple[tuple[str, int], ...]:
    sides = {"right": ("r", -1), "left": ("l", 1)}
    return tuple(sides.values()) if side == "both" else (sides[side],)


def _make_lying(kind: FallDirection, rng: np.random.Generator) -> Stance:
    """Return how a person lies after a fall in a direction: arms and legs differ each time."""
    pitch, roll = {"forward": (pi / 2, 0.0), "backward": (-pi / 2, 0.0), "left": (0.0, pi / 2),
                   "right": (0.0, -pi / 2), "collapse": (0.0, float(rng.choice((-1, 1))) * pi / 2)}[kind]  # fmt: skip
    bend = float(rng.uniform(0, 0.9 if kind in ("left", "right", "collapse") else 0.2))
    limbs = {
        "thigh_r": (bend, -0.15, -1.0), "shin_r": (-bend, 0.0, -1.0),
        "thigh_l": (bend * float(rng.uniform(0.5, 1)), 0.15, -1.0), "shin_l": (-bend, 0.0, -1.0),
    }  # fmt: skip
    for letter, out in (("r", -1), ("l", 1)):
        spread, up = float(rng.uniform(0.1, 1)), float(rng.uniform(-1, 0.8))
        limbs |= {f"upper_arm_{letter}": (0.05, out * spread, up), f"forearm_{letter}": (0.2, out * 0.3, up)}
    return Stance(pitch, roll, limbs=limbs)


def _step(packed: Vector, phase: float) -> Vector:
    """Return a stance with the legs and arms of a walking person."""
    packed = packed.copy()
    for i, shift in ((0, 0.0), (6, pi)):
        swing = 0.42 * sin(phase + shift)
        lifted = max(0.0, cos(phase + shift))
        packed[17 + i : 20 + i] += swing, 0, 0
        packed[20 + i : 23 + i] += swing - 0.7 * lifted, 0, 0
        packed[5 + i] -= 0.7 * swing
        packed[8 + i] -= 0.6 * swing - 0.15
    return packed


def observe(
    actor: Actor,
    camera: PinholeCamera,
    time_s: float,
    rng: np.random.Generator,
    noise_px: float = 0,
    missing: float = 0,
) -> npt.NDArray[np.float32]:
    """Return the keypoints of a person as a network finds them.

    Nothing is found outside of the image. The face is not found from behind, and only one ear is found from the side.

    Args:
        actor: The person.
        camera: The camera.
        time_s: Time in the script of the person.
        rng: Source of noise.
        noise_px: Standard deviation of the noise in pixels.
        missing: Share of keypoints that are missing in each frame.

    Returns:
        (18, 3) float32: x, y, score; all zero if the keypoint was not found.
    """
    points, face = actor.get_points(time_s)
    image, is_found = camera.project(points)
    is_found &= rng.random(len(points)) >= missing
    to_camera = np.array((0, 0, camera.height_m)) - points[0]
    to_camera /= np.linalg.norm(to_camera)
    if float(face @ to_camera) < -0.2:
        is_found[[0, 14, 15]] = False
    ears = points[17] - points[16]
    side = float(ears @ to_camera) / float(np.linalg.norm(ears))
    if abs(side) > 0.6:
        is_found[[16, 14] if side > 0 else [17, 15]] = False
    keypoints = np.zeros((len(points), 3), np.float32)
    keypoints[:, :2] = image + rng.normal(0, noise_px, image.shape)
    keypoints[:, 2] = 0.8
    keypoints[~is_found] = 0
    return keypoints
