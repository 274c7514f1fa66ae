"""Drawing of a synthetic person with clothes, from its keypoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Image
from . import paint
from .body import Points
from .paint import Color

_SKINS: tuple[Color, ...] = ((150, 180, 225), (130, 165, 215), (95, 130, 185), (70, 100, 150), (50, 72, 110))
_HAIRS: tuple[Color, ...] = ((30, 35, 45), (25, 45, 75), (45, 80, 125), (70, 120, 165), (95, 95, 100))
_SHIRTS: tuple[Color, ...] = (
    (190, 90, 50), (60, 60, 190), (70, 150, 70), (60, 170, 210), (200, 200, 205), (60, 55, 60), (150, 80, 150),
)  # fmt: skip
_TROUSERS: tuple[Color, ...] = ((95, 65, 45), (50, 50, 52), (75, 95, 115), (120, 85, 60), (60, 75, 60))


@dataclass(frozen=True)
class Appearance:
    """Appearance of one person: colors (BGR), sleeves and body width (`build`, 1 is average)."""

    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    long_sleeves: bool
    build: float

    @classmethod
    def create_random(cls, rng: np.random.Generator) -> Appearance:
        """Draw a random appearance."""
        skin, hair, shirt, trousers = (
            table[int(rng.integers(len(table)))] for table in (_SKINS, _HAIRS, _SHIRTS, _TROUSERS)
        )
        return cls(skin, hair, shirt, trousers, bool(rng.integers(2)), float(rng.uniform(0.9, 1.12)))


def draw_person(canvas: Image, points: Points, height: float, look: Appearance) -> None:
    """Draw one person on the canvas.

    Args:
        canvas: (H, W, 3) uint8 BGR; changed in place.
        points: (18, 2): keypoints in pixels.
        height: Height of the person in pixels.
        look: Appearance.
    """
    unit = height * look.build
    _draw_legs(canvas, points, unit, look)
    _draw_trunk(canvas, points, unit, look)
    _draw_arms(canvas, points, unit, look)
    _draw_head(canvas, points, height, look)


def _draw_legs(canvas: Image, points: Points, unit: float, look: Appearance) -> None:
    for hip, knee, ankle, side in ((8, 9, 10, -1), (11, 12, 13, 1)):
        toe = points[ankle] + np.array((side * 0.03, 0.035)) * unit
        paint.fill_capsule(canvas, points[ankle] + (0, 0.018 * unit), toe, 0.022 * unit, 0.019 * unit, (40, 40, 45))
        paint.fill_capsule(canvas, points[knee], points[ankle], 0.042 * unit, 0.029 * unit, look.trousers)
        paint.fill_capsule(canvas, points[hip], points[knee], 0.062 * unit, 0.043 * unit, look.trousers)


def _draw_trunk(canvas: Image, points: Points, unit: float, look: Appearance) -> None:
    right, left, right_hip, left_hip = (points[keypoint] for keypoint in (2, 5, 8, 11))
    neck = points[1]
    paint.fill_capsule(canvas, neck + (0, 0.01 * unit), neck - (0, 0.06 * unit), 0.036 * unit, 0.032 * unit, look.skin)
    out, down = np.array((0.036, 0)) * unit, np.array((0, 0.05)) * unit
    up = np.array((0, 0.03)) * unit
    paint.fill_torso(canvas, np.array((right_hip - out, left_hip + out, left_hip + out * 0.6 + down * 0.9,
                                  right_hip - out * 0.6 + down * 0.9)), look.trousers)  # fmt: skip
    outline = (neck - up - out * 1.2, neck - up + out * 1.2, left + out * 0.5 - up * 0.6, left + out * 0.9 + down * 0.6,
               left_hip + out * 0.75, left_hip + out * 0.7 + down * 0.35, right_hip - out * 0.7 + down * 0.35,
               right_hip - out * 0.75, right - out * 0.9 + down * 0.6, right - out * 0.5 - up * 0.6)  # fmt: skip
    paint.fill_torso(canvas, np.array(outline), look.shirt)
    collar = np.array((neck - up - out * 0.9, neck + up * 0.4, neck - up + out * 0.9))
    paint.fill_polygon(canvas, collar, paint.scale_brightness(look.skin, 0.9))


def _draw_arms(canvas: Image, points: Points, unit: float, look: Appearance) -> None:
    for shoulder, elbow, wrist in ((2, 3, 4), (5, 6, 7)):
        direction = (points[wrist] - points[elbow]) / max(1e-6, float(np.hypot(*(points[wrist] - points[elbow]))))
        palm = points[wrist] + direction * 0.04 * unit
        paint.fill_capsule(canvas, points[wrist], palm, 0.019 * unit, 0.024 * unit, look.skin)
        sleeve = look.shirt if look.long_sleeves else look.skin
        paint.fill_capsule(canvas, points[elbow], points[wrist], 0.031 * unit, 0.021 * unit, sleeve)
        paint.fill_capsule(canvas, points[shoulder], points[elbow], 0.043 * unit, 0.033 * unit, look.shirt)


def _draw_head(canvas: Image, points: Points, height: float, look: Appearance) -> None:
    nose, right_eye, left_eye, right_ear, left_ear = (points[keypoint] for keypoint in (0, 14, 15, 16, 17))
    center = (right_ear + left_ear) / 2
    facing = (nose - center) * (0.45, 0.0)
    paint.fill_ellipse(canvas, center - (0, 0.018 * height), 0.055 * height, 0.062 * height, look.hair)
    for ear in (right_ear, left_ear):
        paint.fill_ellipse(canvas, ear, 0.011 * height, 0.018 * height, paint.scale_brightness(look.skin, 0.92))
    paint.fill_ellipse(canvas, center + facing * 0.5 + (0, 0.006 * height), 0.046 * height, 0.063 * height, look.skin)
    _draw_hairline(canvas, center + facing * 0.4, height, look)
    for eye in (right_eye, left_eye):
        paint.fill_polygon(canvas, eye + _make_eye_outline(0.0105 * height, 0.0062 * height), (235, 238, 240))
        paint.fill_polygon(canvas, eye + _make_eye_outline(0.005 * height, 0.0055 * height), (30, 35, 45))
        brow = eye + np.array(((-0.013, -0.011), (0, -0.0155), (0.013, -0.011))) * height
        paint.draw_line(canvas, brow, paint.scale_brightness(look.hair, 0.8), 0.0045 * height)
    bridge = np.array((nose + (-0.003 * height, -0.018 * height), nose + (-0.008 * height, 0.002 * height),
                       nose + (0.008 * height, 0.003 * height)))  # fmt: skip
    paint.draw_line(canvas, bridge, paint.scale_brightness(look.skin, 0.62), 0.0035 * height)
    mouth = nose + np.array(((-0.016, 0.024), (0, 0.028), (0.016, 0.024))) * height
    paint.draw_line(canvas, mouth, (70, 70, 150), 0.005 * height)


def _draw_hairline(canvas: Image, center: Points, height: float, look: Appearance) -> None:
    angles = np.linspace(np.pi * 1.05, np.pi * 1.95, 12)
    arc = np.stack((np.cos(angles) * 0.05, np.sin(angles) * 0.064 - 0.008), axis=1) * height
    fringe = np.array(((0.034, -0.036), (-0.034, -0.036))) * height
    paint.fill_polygon(canvas, center + np.concatenate((arc, fringe)), look.hair)


def _make_eye_outline(radius_x: float, radius_y: float) -> Points:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return np.stack((np.cos(angles) * radius_x, np.sin(angles) * radius_y), axis=1).astype(np.float32)
